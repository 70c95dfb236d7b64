import numpy as np
import pytest

from emotemporal.faces.shots import ShotCutDetector


def cuts_in(frames):
    detector = ShotCutDetector()
    return [i for i, frame in enumerate(frames) if detector.is_cut(frame)]


@pytest.fixture
def noisy(scenery):
    rng = np.random.default_rng(0)

    def shot(seed, num_frames):
        picture = scenery(seed).astype(float)
        return [
            (picture + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)
            for _ in range(num_frames)
        ]

    return shot


def test_finds_each_cut(noisy):
    assert cuts_in(noisy(0, 10) + noisy(1, 7) + noisy(2, 10)) == [10, 17]


def test_cut_through_black_is_one_cut(noisy):
    black = [np.zeros((120, 160, 3), np.uint8)] * 3
    assert cuts_in(noisy(0, 10) + black + noisy(1, 10)) == [13]


def test_blank_frames_within_a_shot_are_no_cut(noisy):
    white = [np.full((120, 160, 3), 255, np.uint8)]
    assert cuts_in(noisy(0, 10) + white + noisy(0, 10)) == []


def test_flash_is_no_cut(noisy):
    frames = noisy(0, 20)
    frames[10] = (frames[10] * 0.4 + 150).astype(np.uint8)
    assert cuts_in(frames) == []


def test_fast_pan_is_no_cut(scenery):
    wide = scenery(7, 120, 1600)
    starts = [0] * 10 + list(range(25, 500, 25))
    assert cuts_in([wide[:, x : x + 160] for x in starts]) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (2000, 3, 3)])
def test_any_size(shape):
    rng = np.random.default_rng(1)
    cuts_in(rng.integers(0, 255, (3, *shape), np.uint8))
