"""Faces in front of a camera: nothing waits, ids stay, mistakes are not told of."""

import numpy as np
import pytest

from emotemporal.faces.live import LiveTracker


def moving(x, y, dx=0.0, dy=0.0, size=24, present=lambda i: True):
    """A face that moves evenly and is in the picture on some frames."""

    def path(i):
        left, top = x + dx * i, y + dy * i
        return (left, top, left + size, top + size) if present(i) else None

    return path


def ids(told) -> list[list[int]]:
    return [faces.track_id.tolist() for faces in told]


def test_one_face_is_told_of_from_its_third_frame_on(live_script, stub):
    path = moving(10, 30, dx=1.5)
    detector = stub([path])
    told = live_script(60, [path], detector=detector)
    assert ids(told) == [[], [], *[[1]] * 58]
    for i, faces in enumerate(told[2:], start=2):
        np.testing.assert_allclose(faces.found.boxes[0], path(i), atol=1e-3)
        assert faces.found.scores[0] > 0.9
    # The full detector ran about twice a second.
    assert detector.detect_calls == [0, 12, 24, 36, 48]


def test_a_frame_is_told_of_without_those_after_it(live_script):
    paths = [moving(10, 10, dx=1), moving(100, 60, dx=-1, present=lambda i: i >= 29)]
    whole, part = live_script(60, paths), live_script(35, paths)
    assert ids(whole)[:35] == ids(part)
    for a, b in zip(whole, part, strict=False):
        np.testing.assert_array_equal(a.found.boxes, b.found.boxes)


def test_a_late_entry_waits_for_the_next_key_frame(live_script):
    told = live_script(60, [moving(10, 10), moving(100, 60, present=lambda i: i >= 29)])
    first = next(i for i, faces in enumerate(told) if 2 in faces.track_id)
    assert first == 36 + 2
    assert all(row == [1, 2] for row in ids(told)[first:])


def test_a_face_that_returns_in_time_keeps_its_id(live_script):
    told = live_script(60, [moving(20, 30, dx=1, present=lambda i: not 20 <= i < 27)])
    assert all(row == [1] for row in ids(told)[2:20])
    assert all(row == [] for row in ids(told)[20:27])
    assert all(row == [1] for row in ids(told)[31:])


def test_a_lost_face_is_searched_for_before_the_next_key_frame(live_script, stub):
    path = moving(20, 30, present=lambda i: not i >= 18)
    detector = stub([path])
    live_script(24, [path], detector=detector, still_seconds=0)
    assert detector.detect_calls == [0, 12, 18]


def test_a_face_that_stays_away_returns_as_another(live_script):
    told = live_script(100, [moving(50, 30, present=lambda i: not 20 <= i < 60)])
    assert {row[0] for row in ids(told)[:20] if row} == {1}
    assert {row[0] for row in ids(told)[60:] if row} == {2}


def test_a_shot_cut_ends_every_track(live_script):
    told = live_script(40, [moving(50, 30)], scene=lambda i: i // 20)
    assert ids(told)[19:23] == [[1], [], [], [2]]


def test_a_passing_mistake_uses_no_id_up(live_script):
    mistake = moving(100, 60, present=lambda i: i in (0, 1))
    told = live_script(40, [mistake, moving(10, 10, present=lambda i: i >= 5)])
    assert all(row in ([], [1]) for row in ids(told))
    assert ids(told)[-1] == [1]


def test_crossing_faces_keep_their_ids(live_script):
    front = moving(10, 40, dx=1.5)

    def back(i):
        x = 130 - 1.5 * i
        return None if abs(x - (10 + 1.5 * i)) < 12 else (x, 42, x + 24, 66)

    last = live_script(80, [front, back])[-1]
    assert last.track_id.tolist() == [1, 2]
    np.testing.assert_allclose(last.found.boxes, [front(79), back(79)], atol=1e-3)


def test_where_nothing_is_new_the_detector_is_spared(live_script, stub):
    path, other = moving(20, 30), moving(110, 30, present=lambda i: i >= 60)
    detector = stub([path, other])
    told = live_script(80, [path, other], detector=detector)
    assert detector.detect_calls == [0, 48, 60]
    assert [ids(told)[i] for i in (50, 70)] == [[1], [1, 2]]


def test_what_the_detector_sees_no_more_is_let_go(live_script, stub):
    """A refinement that clings to something is trusted for two key frames, then no longer."""
    path = moving(50, 30)
    told = live_script(80, [path], detector=stub([path], undetected=frozenset(range(1, 80))), still_seconds=0)
    assert ids(told)[35] == [1]
    assert ids(told)[37:] == [[]] * 43


def test_memory_does_not_grow_with_time(stub, scenery):
    tracker = LiveTracker(stub([moving(50, 30)]))
    image = scenery(0)
    for i in range(2000):
        told = tracker.update(image, i / 25)
    assert told.track_id.tolist() == [1]
    (trail,) = tracker._active
    assert len(trail.sightings) < 300
    assert not trail._settled


def test_what_cannot_be_is_refused(stub, scenery):
    tracker = LiveTracker(stub([]))
    tracker.update(scenery(0), 1.0)
    with pytest.raises(ValueError, match="times must increase"):
        tracker.update(scenery(0), 1.0)
    for setting in ("key_seconds", "still_seconds"):
        with pytest.raises(ValueError, match=setting):
            LiveTracker(stub([]), **{setting: -1})
