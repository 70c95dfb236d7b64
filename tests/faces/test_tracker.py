"""The tracker's logic, with faces that are known to the pixel."""

import numpy as np
import pytest

from emotemporal.faces.tracker import FaceTracker
from emotemporal.structures import Detections, FrameBatch, TrackStatus


def moving(x, y, dx=0.0, dy=0.0, size=24, present=lambda i: True):
    """A face that moves evenly and is in the picture on some frames."""

    def path(i):
        left, top = x + dx * i, y + dy * i
        return (left, top, left + size, top + size) if present(i) else None

    return path


def assert_on_path(track, path):
    for index, box, seen in zip(track.frame_index, track.boxes, track.seen, strict=True):
        if seen:
            np.testing.assert_allclose(box, path(int(index)), atol=1e-3)


def test_one_face_is_one_track(track_script):
    path = moving(10, 30, dx=1.5)
    (track,) = track_script(60, [path], still_seconds=0).tracks
    assert track.track_id == 1
    assert_on_path(track, path)
    np.testing.assert_array_equal(track.frame_index, np.arange(60))
    np.testing.assert_allclose(track.pts_seconds, 0.5 + np.arange(60) / 25)
    detected = np.flatnonzero(track.status == TrackStatus.DETECTED)
    np.testing.assert_array_equal(detected, [0, 12, 24, 36, 48, 59])
    assert (track.status[1:12] == TrackStatus.TRACKED).all()


def test_a_long_track_keeps_every_sighting(track_script):
    path = moving(10, 30, dx=0.1, present=lambda i: not 400 <= i < 405)
    (track,) = track_script(700, [path], still_seconds=0).tracks
    np.testing.assert_array_equal(track.frame_index, np.arange(700))
    np.testing.assert_array_equal(np.flatnonzero(~track.seen), np.arange(400, 405))
    np.testing.assert_allclose(track.boxes[:, 0], 10 + 0.1 * np.arange(700), atol=1e-3)
    assert (track.scores[track.seen] > 0.9).all()
    assert (track.status == TrackStatus.DETECTED).sum() >= 700 // 12


def test_face_that_returns_in_time_keeps_its_id(track_script):
    path = moving(20, 30, dx=1, present=lambda i: not 20 <= i < 27)
    (track,) = track_script(60, [path]).tracks
    np.testing.assert_array_equal(np.flatnonzero(~track.seen), np.arange(20, 27))
    assert (track.status[20:27] == TrackStatus.INTERPOLATED).all()
    assert (track.scores[20:27] == 0).all()
    # Even motion is interpolated exactly.
    np.testing.assert_allclose(track.boxes[:, 0], 20 + np.arange(60), atol=1e-3)


def test_interpolation_follows_time_not_frames(stub, run, make_batches):
    path = moving(20, 30, present=lambda i: not 14 <= i < 16)

    class Shifted(stub):
        def _boxes(self, index):
            return [box + (10 if index >= 16 else 0) for box in super()._boxes(index)]

    tracker = FaceTracker(Shifted([path]))
    index = np.arange(40)
    pts = index / 25.0
    pts[15:] += 0.08  # frame 15 is at three quarters of the time from 13 to 16: 0, 1, 4, 5
    data = np.zeros((40, 60, 80, 3), np.uint8)
    data[:, 0, 0, 1] = index
    list(tracker.update(FrameBatch(data, index, pts)))
    list(tracker.finish())
    (track,) = tracker.tracks()
    np.testing.assert_allclose(track.boxes[13:17, 0], [20, 22, 28, 30], atol=1e-3)


@pytest.mark.parametrize("gap", [20, 40])
def test_face_that_stays_away_returns_as_another(track_script, gap):
    path = moving(50, 30, present=lambda i: not 20 <= i < 20 + gap)
    tracks = track_script(100, [path]).tracks
    assert [t.track_id for t in tracks] == [1, 2]
    assert [(t.frame_index[0], t.frame_index[-1]) for t in tracks] == [(0, 19), (20 + gap, 99)]
    assert all(t.seen.all() for t in tracks)


def test_late_entry_is_followed_back_to_its_first_frame(track_script):
    early, late = moving(10, 10), moving(100, 60, dx=-1, present=lambda i: i >= 29)
    first, second = track_script(60, [early, late]).tracks
    assert len(first) == 60
    assert second.frame_index[0] == 29
    assert second.status[0] == TrackStatus.TRACKED
    assert second.status[36 - 29] == TrackStatus.DETECTED
    assert_on_path(second, late)


def test_entry_after_the_last_key_frame_is_found(track_script):
    (track,) = track_script(22, [moving(40, 40, present=lambda i: i >= 13)], min_track_seconds=0.2).tracks
    np.testing.assert_array_equal(track.frame_index, np.arange(13, 22))


def test_leaving_ends_the_track(track_script):
    path = moving(40, 40, present=lambda i: i < 30)
    (track,) = track_script(80, [path]).tracks
    assert track.frame_index[-1] == 29
    assert track.seen.all()


def test_crossing_faces_keep_their_ids(track_script):
    """The front one hides the other while they share more than a third."""
    front = moving(10, 40, dx=1.5)

    def back(i):
        x = 130 - 1.5 * i
        return None if abs(x - (10 + 1.5 * i)) < 12 else (x, 42, x + 24, 66)

    left, right = track_script(80, [front, back]).tracks
    assert_on_path(left, front)
    assert_on_path(right, back)
    assert left.seen.all()
    assert (len(left), len(right)) == (80, 80)
    assert 0 < (~right.seen).sum() < 12


def test_two_tracks_of_one_face_become_one(track_script, stub):
    """The older track stays where two run into one face that is then alone."""
    one, other = moving(40, 40), moving(90, 40, dx=-1, present=lambda i: i < 40)
    tracks = track_script(80, [one, other]).tracks
    assert_on_path(tracks[0], one)
    assert len(tracks[0]) == 80
    assert tracks[0].track_id == 1
    # What the other saw while it ran into this one is taken back.
    assert [t.frame_index[-1] for t in tracks] == [79, 36]


def test_no_track_crosses_a_cut(track_script):
    path = moving(50, 40)
    run = track_script(50, [path], scene=lambda i: int(i >= 23))
    assert [(t.track_id, t.frame_index[0], t.frame_index[-1]) for t in run.tracks] == [
        (1, 0, 22),
        (2, 23, 49),
    ]
    assert all(t.status[0] == TrackStatus.DETECTED for t in run.tracks)


def test_lost_face_is_looked_for_early(track_script, stub):
    # Gone for two frames, and back farther off than the refinement reaches.
    def path(i):
        if 14 <= i < 16:
            return None
        x = 30 if i < 14 else 48
        return (x, 40, x + 24, 64)

    detector = stub([path])
    (track,) = track_script(48, [path], detector=detector, still_seconds=0).tracks
    assert detector.detect_calls[:3] == [0, 12, 16]
    assert len(track) == 48


def test_search_for_a_lost_face_is_bounded(track_script, stub):
    path = moving(50, 40, present=lambda i: i < 14)
    detector = stub([path])
    track_script(120, [path], detector=detector)
    assert len(detector.detect_calls) <= 120 / 12 + 3


def test_profile_survives_some_missed_key_frames(track_script, stub):
    path = moving(30, 40)
    detector = stub([path], undetected=frozenset(range(20, 45)))
    (track,) = track_script(80, [path], detector=detector).tracks
    assert len(track) == 80
    assert track.seen.all()


def test_what_the_detector_never_confirms_is_given_up(track_script, stub):
    path = moving(30, 40)
    detector = stub([path], undetected=frozenset(range(5, 200)))
    (track,) = track_script(120, [path], detector=detector, still_seconds=0).tracks
    assert track.frame_index[-1] == 36


def test_where_nothing_is_new_the_detector_is_spared(track_script, stub):
    path = moving(40, 40, dx=0.05)
    for paths in ([path], []):
        detector = stub(paths)
        track_script(120, paths, detector=detector)
        assert detector.detect_calls == [0, 48, 96]


def test_what_is_new_in_a_still_picture_is_detected(track_script, stub):
    paths = [moving(20, 40), moving(110, 40, present=lambda i: i >= 20)]
    detector = stub(paths)
    first, second = track_script(60, paths, detector=detector).tracks
    assert detector.detect_calls == [0, 24]
    assert (len(first), second.frame_index[0]) == (60, 20)


def test_a_cut_is_looked_at_even_after_a_still_picture(track_script, stub):
    path = moving(50, 40)
    detector = stub([path])
    track_script(60, [path], detector=detector, scene=lambda i: int(i >= 30))
    assert detector.detect_calls == [0, 30]


def test_a_face_that_is_not_sure_is_detected_again(track_script, stub):
    path = moving(50, 40)

    class Unsure(stub):
        def refine_faces(self, frame, boxes):
            found = super().refine_faces(frame, boxes)
            return Detections(found.boxes, np.minimum(found.scores, 0.8), found.landmarks)

    detector = Unsure([path])
    track_script(60, [path], detector=detector)
    assert detector.detect_calls == [0, 12, 24, 36, 48, 59]


def test_a_weak_detection_is_looked_at_again(track_script, stub):
    """It may be a face that is not sure enough yet."""
    path = moving(50, 40)

    class Weak(stub):
        def detect_faces(self, frame):
            found = super().detect_faces(frame)
            certainty = 1.0 if len(self.detect_calls) == 3 else 0.8
            return Detections(found.boxes, found.scores * certainty, found.landmarks)

    detector = Weak([path])
    (track,) = track_script(60, [path], detector=detector).tracks
    assert detector.detect_calls[:3] == [0, 12, 24]
    assert track.frame_index[0] == 13


def test_passing_mistake_is_dropped_but_not_in_a_short_clip(track_script):
    blink = moving(50, 40, present=lambda i: 22 <= i < 26)
    assert track_script(80, [blink]).tracks == ()
    assert len(track_script(3, [moving(50, 40)]).tracks) == 1


def test_one_frame(track_script):
    run = track_script(1, [moving(50, 40), moving(100, 70)])
    assert [len(t) for t in run.tracks] == [1, 1]
    np.testing.assert_array_equal(run.frame_index, [0])
    assert len(run.rows[0]) == 2


def test_no_faces(track_script):
    run = track_script(30, [])
    assert run.tracks == ()
    np.testing.assert_array_equal(run.frame_index, np.arange(30))
    assert all(len(r) == 0 for r in run.rows)


def test_no_frames(stub):
    tracker = FaceTracker(stub([]))
    assert list(tracker.finish()) == []
    assert tracker.tracks() == ()


PATHS = [
    moving(10, 10, dx=0.7),
    moving(120, 60, dx=-1.2, present=lambda i: i >= 17),
    moving(60, 90, present=lambda i: i < 50),
]


@pytest.mark.parametrize("batch_size", [1, 5, 7, 64])
def test_result_does_not_depend_on_the_batches(track_script, batch_size):
    scene = lambda i: int(i >= 61)  # noqa: E731
    expected = track_script(90, PATHS, batch_size=90, scene=scene)
    run = track_script(90, PATHS, batch_size=batch_size, scene=scene)
    np.testing.assert_array_equal(run.frame_index, np.arange(90))
    np.testing.assert_array_equal(run.table(), expected.table())
    assert [t.track_id for t in run.tracks] == [t.track_id for t in expected.tracks]
    for track, other in zip(run.tracks, expected.tracks, strict=True):
        np.testing.assert_array_equal(track.boxes, other.boxes)
        np.testing.assert_array_equal(track.status, other.status)


def test_rows_are_the_seen_frames_of_the_tracks(track_script):
    run = track_script(60, PATHS)
    table = run.table()
    for track in run.tracks:
        rows = table[table[:, 1] == track.track_id]
        np.testing.assert_array_equal(rows[:, 0], track.frame_index[track.seen])
        np.testing.assert_array_equal(rows[:, 2:], track.boxes[track.seen])


def test_frames_wait_for_one_key_interval_at_most(stub, make_batches):
    tracker = FaceTracker(stub([]))
    data = np.zeros((50, 40, 40, 3), np.uint8)
    num_out = 0
    for num_in, batch in enumerate(make_batches(data, 1), start=1):
        num_out += sum(len(rows.frames) for rows in tracker.update(batch))
        assert num_in - num_out < 12


def test_frames_must_be_consecutive(stub, make_batches):
    tracker = FaceTracker(stub([]))
    first, _, third = make_batches(np.zeros((6, 40, 40, 3), np.uint8), 2)
    list(tracker.update(first))
    with pytest.raises(ValueError, match="expected 2, found 4"):
        list(tracker.update(third))


def test_finished_tracker_takes_no_more(stub, make_batches):
    tracker = FaceTracker(stub([]))
    list(tracker.finish())
    with pytest.raises(ValueError, match="finished"):
        list(tracker.update(next(make_batches(np.zeros((2, 40, 40, 3), np.uint8), 2))))


@pytest.mark.parametrize(
    "settings", [{"key_interval": 0}, {"still_seconds": -1}, {"search_interval": 0}, {"max_gap_seconds": -1}]
)
def test_bad_settings_are_refused(stub, settings):
    with pytest.raises(ValueError, match=r"at least|negative"):
        FaceTracker(stub([]), **settings)


def test_new_face_is_followed_back_past_what_hides_it_for_a_moment(track_script):
    path = moving(30, 40, dx=0.5, present=lambda i: i >= 13 and not 16 <= i < 20)
    (track,) = track_script(60, [path]).tracks
    np.testing.assert_array_equal(track.frame_index, np.arange(13, 60))
    np.testing.assert_array_equal(track.frame_index[~track.seen], np.arange(16, 20))
    assert (track.status[:3] == TrackStatus.TRACKED).all()


def test_new_face_is_not_looked_for_long_before_it_came(track_script):
    path = moving(30, 40, dx=0.5, present=lambda i: i == 13 or i >= 20)
    (track,) = track_script(60, [path]).tracks
    assert track.frame_index[0] == 20
