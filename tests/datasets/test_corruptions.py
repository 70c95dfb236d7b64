"""Corruptions: each changes what it says, by how much it says, and nothing at severity 0."""

from itertools import pairwise

import numpy as np
import pytest

from emotemporal.datasets.corruptions import CORRUPTIONS, corrupt_faces

SIDE = 48


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Smooth random pictures with contrast at every place."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(40, 215, (6, 12, 12))
    fine = np.kron(coarse, np.ones((4, 4))) + rng.normal(0, 8, (6, SIDE, SIDE))
    return np.clip(fine, 0, 255).astype(np.uint8)


def error(images: np.ndarray, faces: np.ndarray) -> float:
    """Mean absolute difference in gray levels."""
    return float(np.abs(images.astype(float) - faces).mean())


def detail(images: np.ndarray) -> float:
    """Mean step from pixel to pixel."""
    return float(np.abs(np.diff(images.astype(float), axis=-1)).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_holds_for_all(faces, name):
    before = faces.copy()
    levels = CORRUPTIONS[name].levels
    steps = [corrupt_faces(faces, name, severity) for severity in range(len(levels) + 1)]
    np.testing.assert_array_equal(steps[0], faces)
    assert not np.shares_memory(steps[0], faces)
    np.testing.assert_array_equal(faces, before)
    for severity, images in enumerate(steps):
        assert images.dtype == np.uint8
        assert images.shape == faces.shape
        np.testing.assert_array_equal(images, corrupt_faces(faces, name, severity))
    errors = [error(images, faces) for images in steps]
    assert errors[1] > 0
    assert errors[-1] > 1.5 * errors[1]
    assert corrupt_faces(faces[:0], name, 1).shape == (0, SIDE, SIDE)


@pytest.mark.parametrize("name", ["darkness", "noise", "rotation", "shift"])
def test_the_seed_decides_what_is_random(faces, name):
    assert (corrupt_faces(faces, name, 3, seed=1) != corrupt_faces(faces, name, 3, seed=2)).any()


@pytest.mark.parametrize("name", ["blur", "size"])
def test_detail_is_lost(name):
    grain = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE), dtype=np.uint8)
    found = [detail(corrupt_faces(grain, name, severity)) for severity in range(6)]
    assert all(a > b for a, b in pairwise(found))


def test_blur_is_as_wide_as_it_says():
    point = np.zeros((1, SIDE, SIDE), np.uint8)
    point[0, 24, 24] = 255
    spread = corrupt_faces(point, "blur", 4)[0].astype(float).sum(axis=0)
    at = np.arange(SIDE) - 24
    # Rounding to whole gray levels cuts the tails of a single point.
    assert np.sqrt((spread * at**2).sum() / spread.sum()) == pytest.approx(2, abs=0.25)


def test_size_is_that_of_the_reduced_face(faces):
    side = int(CORRUPTIONS["size"].levels[2])
    assert SIDE % side == 0
    images = corrupt_faces(faces, "size", 3)
    blocks = faces.reshape(6, side, 2, side, 2).mean(axis=(2, 4))
    found = images.reshape(6, side, 2, side, 2).mean(axis=(2, 4))
    # Linear enlargement blends neighbours, but leaves each block near its mean.
    assert np.corrcoef(blocks.ravel(), found.ravel())[0, 1] > 0.97


def test_jpeg_shows_its_blocks(faces):
    worst = corrupt_faces(faces, "jpeg", 5).astype(float)
    steps = np.abs(np.diff(worst, axis=-1)).mean(axis=(0, 1))
    edges = np.arange(1, SIDE) % 8 == 0
    assert steps[edges].mean() > 1.3 * steps[~edges].mean()


def test_darkness_scales_light_and_worsens_the_signal():
    flat = np.full((8, SIDE, SIDE), 200, np.uint8)
    ratios = []
    for severity, gain in enumerate(CORRUPTIONS["darkness"].levels, start=1):
        dark = corrupt_faces(flat, "darkness", severity).astype(float)
        assert dark.mean() == pytest.approx(200 * gain, abs=0.2)
        ratios.append(dark.mean() / dark.std())
    assert all(a > b for a, b in pairwise(ratios))


def test_noise_has_its_deviation():
    flat = np.full((8, SIDE, SIDE), 128, np.uint8)
    for severity, deviation in enumerate(CORRUPTIONS["noise"].levels, start=1):
        noisy = corrupt_faces(flat, "noise", severity).astype(float)
        assert noisy.std() == pytest.approx(deviation, rel=0.03)
        assert noisy.mean() == pytest.approx(128, abs=1)


@pytest.mark.parametrize(
    ("name", "landmarks", "other"),
    [
        ("eyes covered", [(0.318, 0.390), (0.695, 0.385)], (0.505, 0.782)),
        ("mouth covered", [(0.347, 0.781), (0.664, 0.783)], (0.506, 0.388)),
    ],
)
def test_covers_lie_on_the_landmarks(faces, name, landmarks, other):
    for severity, height in enumerate(CORRUPTIONS[name].levels, start=1):
        images = corrupt_faces(faces, name, severity)
        for image, face in zip(images, faces, strict=True):
            mean = round(float(face.mean()))
            for x, y in landmarks:
                assert image[int(y * SIDE), int(x * SIDE)] == mean
            assert (
                image[int(other[1] * SIDE), int(other[0] * SIDE)]
                == face[int(other[1] * SIDE), int(other[0] * SIDE)]
            )
        changed = (images != faces).any(axis=0)
        assert changed.any(axis=1).sum() == pytest.approx(height * SIDE, abs=1)
        width = 2 * (landmarks[1][0] - landmarks[0][0])
        assert changed.any(axis=0).sum() == pytest.approx(width * SIDE, abs=1)


def test_rotation_turns_about_the_middle_either_way():
    bar = np.zeros((20, SIDE, SIDE), np.uint8)
    bar[:, :, 22:26] = 255
    angles = []
    for image in corrupt_faces(bar, "rotation", 3):
        y, x = np.argwhere(image > 127).T.astype(float)
        assert (x.mean(), y.mean()) == pytest.approx((23.5, 23.5), abs=0.5)
        angles.append(np.degrees(np.arctan(np.polyfit(y, x, 1)[0])))
    assert np.abs(angles) == pytest.approx(np.full(20, 20), abs=1)
    assert min(angles) < 0 < max(angles)


def test_shift_moves_by_its_distance_and_the_same_way_at_every_severity():
    spot = np.zeros((20, SIDE, SIDE), np.uint8)
    spot[:, 22:26, 22:26] = 255
    found = []
    for severity in (1, 3):
        moved = corrupt_faces(spot, "shift", severity).astype(float)
        weights = moved / moved.sum(axis=(1, 2), keepdims=True)
        at = np.arange(SIDE) - 23.5
        found.append(np.stack([(weights * at).sum(axis=(1, 2)), (weights * at[:, None]).sum(axis=(1, 2))]))
    np.testing.assert_allclose(np.hypot(*found[0]), 0.05 * SIDE, atol=0.1)
    np.testing.assert_allclose(found[1], 3 * found[0], atol=0.2)


@pytest.mark.parametrize(
    ("name", "severity", "form", "message"),
    [
        ("fog", 1, (2, 8, 8), "unknown corruption 'fog'"),
        ("blur", 6, (2, 8, 8), "0 to 5, found 6"),
        ("blur", -1, (2, 8, 8), "0 to 5, found -1"),
        ("blur", 1, (8, 8), "found uint8"),
    ],
)
def test_what_cannot_be_done_is_named(name, severity, form, message):
    with pytest.raises(ValueError, match=message):
        corrupt_faces(np.zeros(form, np.uint8), name, severity)
