import numpy as np
import pytest

from emotemporal.video.timing import FrameClock

NAN = float("nan")


@pytest.mark.parametrize(
    ("given", "expected", "repairs"),
    [
        ([0.0, 0.04, 0.08], [0.0, 0.04, 0.08], []),
        ([0.85, 0.89], [0.85, 0.89], []),
        ([-0.1, 0.0], [-0.1, 0.0], []),
        ([0.0, 0.04, 0.04, 0.12], [0.0, 0.04, 0.041, 0.12], ["1 frames repeated"]),
        ([0.0, 0.04, 0.02, 0.12], [0.0, 0.04, 0.041, 0.12], ["1 frames repeated"]),
        ([0.0, NAN, NAN, 0.12], [0.0, 0.04, 0.08, 0.12], ["2 frames without a time"]),
        ([NAN, 0.54], [0.5, 0.54], ["1 frames without a time"]),
        ([0.0, 0.4, 0.0, 0.04], [0.0, 0.4, 0.44, 0.48], ["clock restarted 1 times"]),
        ([5.0, 5.04, 0.0, 0.04], [5.0, 5.04, 5.08, 5.12], ["clock restarted 1 times"]),
    ],
)
def test_times_become_strictly_increasing(given, expected, repairs):
    clock = FrameClock(start_seconds=0.5, frame_seconds=0.04)
    assert [clock.place(seconds) for seconds in given] == pytest.approx(expected)
    lines = clock.describe_repairs()
    assert len(lines) == len(repairs)
    assert all(part in line for part, line in zip(repairs, lines, strict=True))


def test_thousands_of_repeats_at_a_high_rate_stay_increasing():
    clock = FrameClock(start_seconds=0.0, frame_seconds=0.0005)
    placed = [clock.place(1.0) for _ in range(2000)]
    assert np.all(np.diff(placed) > 0)
