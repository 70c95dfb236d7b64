"""Statistics of segments, all by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from emotemporal.labelling.statistics import (
    find_lag,
    frame_ends,
    pairs_table,
    segments_table,
    shares_table,
    transitions_table,
)
from emotemporal.structures import EmotionTimeline, Track, VideoAnalysis, VideoInfo

LABELS = ("happy", "sad", "neutral")
# Frames that last 0.5, 1, 0.5 and 2 s.
UNEVEN = np.array([1.0, 1.5, 2.5, 3.0])


def analysis_of(
    people: dict[int, tuple[int, Sequence[str], Sequence[float]]],
    pts_seconds: np.ndarray,
    *,
    end_seconds: float,
    num_frames: int | None = None,
    unseen: Sequence[int] = (),
    is_still: bool = False,
) -> VideoAnalysis:
    """Return an analysis of people by their first frame, labels and the labels' probabilities."""
    tracks, timelines = [], []
    for track_id, (first, emotions, intensities) in people.items():
        length = len(emotions)
        rows = np.array(intensities, np.float32)[:, None]
        probs = np.repeat((1 - rows) / 2, 3, axis=1)
        probs[np.arange(length), [LABELS.index(name) for name in emotions]] = rows[:, 0]
        index = np.arange(first, first + length)
        tracks.append(
            Track(
                track_id,
                index,
                pts_seconds[index],
                np.zeros((length, 4), np.float32),
                np.ones(length, np.float32),
                np.zeros((length, 5, 2), np.float32),
                np.where(np.isin(index, unseen), 2, 0).astype(np.uint8),
            )
        )
        timelines.append(EmotionTimeline(track_id, probs, probs, {}))
    start, count = float(pts_seconds[0]), len(pts_seconds)
    length = end_seconds - start
    known = count if num_frames is None else num_frames
    info = VideoInfo("a.mp4", 64, 48, known, 25.0, start, length, False, True, is_still=is_still)
    return VideoAnalysis(info, LABELS, np.arange(count), pts_seconds, tuple(tracks), tuple(timelines), {}, {})


ONE = analysis_of(
    {7: (0, ("happy", "happy", "sad", "happy"), (0.9, 0.6, 0.5, 0.8))}, UNEVEN, end_seconds=5.0, unseen=[1]
)


def test_segments_have_the_frames_own_times_and_the_last_frames_duration():
    table = segments_table(ONE)
    assert table.track_id.tolist() == [7, 7, 7]
    assert table.emotion.tolist() == ["happy", "sad", "happy"]
    assert table.onset_seconds.tolist() == [1.0, 2.5, 3.0]
    assert table.offset_seconds.tolist() == [2.5, 3.0, 5.0]
    assert table.duration_seconds.tolist() == [1.5, 0.5, 2.0]
    # 0.9 for 0.5 s and 0.6 for 1 s.
    np.testing.assert_allclose(table.mean_intensity, [0.7, 0.5, 0.8], atol=1e-6)
    np.testing.assert_allclose(table.peak_intensity, [0.9, 0.5, 0.8], atol=1e-6)
    assert table.peak_seconds.tolist() == [1.0, 2.5, 3.0]
    assert table.num_frames.tolist() == [2, 1, 1]
    assert table.num_frames_seen.tolist() == [1, 1, 1]


def test_a_person_who_leaves_lasts_until_the_next_frame_of_the_video():
    analysis = analysis_of({1: (1, ("sad",), (0.8,))}, UNEVEN, end_seconds=5.0)
    (row,) = segments_table(analysis).itertuples()
    assert (row.onset_seconds, row.offset_seconds) == (1.5, 2.5)


def test_of_a_file_that_breaks_off_the_promised_end_is_not_believed():
    broken = analysis_of({}, UNEVEN, end_seconds=60.0, num_frames=1500)
    assert frame_ends(broken).tolist() == [1.5, 2.5, 3.0, 3.5]


def test_shares_count_time_and_not_frames():
    table = shares_table(ONE).set_index("emotion")
    assert table.num_segments.to_dict() == {"happy": 2, "sad": 1, "neutral": 0}
    assert table.seconds.to_dict() == {"happy": 3.5, "sad": 0.5, "neutral": 0.0}
    np.testing.assert_allclose(table.share, [7 / 8, 1 / 8, 0])
    # 0.7 for 1.5 s and 0.8 for 2 s.
    np.testing.assert_allclose(table.mean_intensity, [(0.7 * 1.5 + 0.8 * 2) / 3.5, 0.5, np.nan], atol=1e-6)


def test_transitions_go_from_rows_to_columns():
    labels = ("happy", "sad", "sad", "happy", "sad", "neutral")
    analysis = analysis_of({1: (0, labels, [0.8] * 6)}, np.arange(6.0), end_seconds=6.0)
    table = transitions_table(analysis).set_index("from")
    assert table.track_id.tolist() == [1, 1, 1]
    assert table[list(LABELS)].to_numpy().tolist() == [[0, 2, 0], [1, 0, 1], [0, 0, 0]]


def test_tables_of_nobody_and_of_a_picture():
    nobody = analysis_of({}, UNEVEN, end_seconds=5.0)
    for table in (segments_table, shares_table, transitions_table, pairs_table):
        assert len(table(nobody)) == 0
        assert len(table(nobody).columns) > 2
    picture = analysis_of({1: (0, ("sad",), (0.8,))}, np.zeros(1), end_seconds=0.0, is_still=True)
    (row,) = segments_table(picture).itertuples()
    assert (row.onset_seconds, row.offset_seconds, row.num_frames) == (0, 0, 1)
    assert row.mean_intensity == pytest.approx(0.8)
    assert shares_table(picture).share.tolist() == [0, 1, 0]


def test_overlap_of_two_people_by_hand():
    people = {
        1: (0, ("happy", "happy", "sad", "happy"), [0.8] * 4),
        2: (1, ("happy", "neutral", "happy"), [0.8] * 3),
        3: (0, ("sad",), [0.8]),
    }
    table = pairs_table(analysis_of(people, UNEVEN, end_seconds=5.0))
    # 2 and 3 are never in view together.
    assert table[["first_track_id", "second_track_id"]].to_numpy().tolist() == [[1, 2], [1, 3]]
    first = table.iloc[0]
    # In common from 1.5 to 5 s: both happy for 1 s and for 2 s.
    assert (first.common_seconds, first.same_seconds, first.both_happy) == (3.5, 3.0, 3.0)
    assert (first.both_sad, first.both_neutral) == (0, 0)
    assert first.same_share == pytest.approx(3 / 3.5)
    assert first.expected_share == pytest.approx((3.0 * 3.0) / 3.5**2)
    assert np.isnan(first.lag_seconds)


def smiles(seconds: np.ndarray, *peaks: float) -> np.ndarray:
    """Return probabilities (L, 2) of smiles half a second wide about the given times."""
    happy = 0.1 + 0.8 * np.exp(-((seconds[:, None] - np.array(peaks)) ** 2) / 0.25).max(1)
    return np.stack([happy, 1 - happy], 1).astype(np.float32)


@pytest.mark.parametrize("delay", [0.6, -1.2, 0.0])
def test_lag_of_an_answered_smile(delay: float):
    times = np.arange(200) / 10
    first, second = smiles(times, 5, 9, 15), smiles(times, 5 + delay, 9 + delay, 15 + delay)
    lag = find_lag(first, second, times, max_lag_seconds=2.0)
    assert lag.seconds == pytest.approx(delay)
    assert lag.correlation > 0.99


def test_lag_is_in_seconds_also_of_uneven_frames():
    times = np.sort(np.random.default_rng(0).uniform(0, 20, 400))
    lag = find_lag(smiles(times, 5, 9, 15), smiles(times, 5.5, 9.5, 15.5), times, max_lag_seconds=2.0)
    assert lag.seconds == pytest.approx(0.5, abs=0.05)


def test_lag_is_not_told_where_there_is_none():
    times = np.arange(200) / 10
    moving = smiles(times, 8)
    still = find_lag(moving, np.full((200, 2), 0.5, np.float32), times, max_lag_seconds=2.0)
    assert np.isnan(still.seconds)
    assert np.isnan(still.correlation)
    # Still rising at the furthest shift.
    assert np.isnan(find_lag(moving, smiles(times, 11), times, max_lag_seconds=2.0).seconds)
    assert find_lag(moving, smiles(times, 11), times, max_lag_seconds=4.0).seconds == pytest.approx(3)
    short = times < 3.9
    assert np.isnan(find_lag(moving[short], moving[short], times[short], max_lag_seconds=2.0).seconds)


def test_the_least_contrary_shift_is_no_lag():
    times = np.arange(200) / 10
    narrow, broad = (np.exp(-((times - 10) ** 2) / width) for width in (0.25, 4.0))
    first, second = (np.stack([p, 1 - p], 1) for p in (0.1 + 0.8 * narrow, 0.9 - 0.8 * broad + 0.4 * narrow))
    lag = find_lag(first, second, times, max_lag_seconds=0.8)
    assert lag.correlation == pytest.approx(-0.464, abs=0.001)  # of no shift
    assert np.isnan(lag.seconds)


def test_lag_of_two_people_in_a_video():
    times = np.arange(200) / 10
    people = {n: (0, ("happy",) * 200, smiles(times, *p)[:, 0]) for n, p in ((1, (5, 9)), (2, (5.4, 9.4)))}
    (row,) = pairs_table(analysis_of(people, times, end_seconds=20.0)).itertuples()
    assert row.lag_seconds == pytest.approx(0.4)
    (row,) = pairs_table(analysis_of(people, times, end_seconds=20.0), max_lag_seconds=0.3).itertuples()
    assert np.isnan(row.lag_seconds)
