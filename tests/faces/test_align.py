"""The geometry of the crops, by hand."""

import cv2
import numpy as np
import pytest

from emotemporal.faces.align import align_faces, similarity_transform
from emotemporal.structures import CropGeometry

GEOMETRY = CropGeometry()
SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)


def test_shift_and_scale_by_hand():
    template = SQUARE * 3 + (10, 20)
    np.testing.assert_allclose(
        similarity_transform(SQUARE, template), [[3, 0, 10], [0, 3, 20]], rtol=0, atol=1e-12
    )


def test_quarter_turn_by_hand():
    # (x, y) -> (-y, x) + (5, 1)
    template = np.column_stack([-SQUARE[:, 1] + 5, SQUARE[:, 0] + 1])
    np.testing.assert_allclose(
        similarity_transform(SQUARE, template), [[0, -1, 5], [1, 0, 1]], rtol=0, atol=1e-12
    )


def test_least_squares_by_hand():
    # About its centre the template is the square stretched by 1 in x and 3 in y: the best scale is 2.
    template = SQUARE * (1, 3)
    np.testing.assert_allclose(
        similarity_transform(SQUARE, template), [[2, 0, -1], [0, 2, 1]], rtol=0, atol=1e-12
    )


def test_never_mirrors():
    mirrored = GEOMETRY.template_px * (-1, 1)
    transform = similarity_transform(mirrored, GEOMETRY.template_px)
    assert np.linalg.det(transform[:, :2]) > 0


def test_many_at_once_equals_one_by_one():
    points = np.random.default_rng(1).normal(size=(4, 5, 2))
    together = similarity_transform(points, GEOMETRY.template_px)
    assert together.shape == (4, 2, 3)
    for one, transform in zip(points, together, strict=True):
        np.testing.assert_allclose(similarity_transform(one, GEOMETRY.template_px), transform)


def test_crop_in_place_is_the_picture(scenery):
    """Landmarks that already lie on the template leave every pixel where it is: no half-pixel shift."""
    frame = scenery(3, 48, 48)
    crop = align_faces(frame, GEOMETRY.template_px[None], GEOMETRY)[0]
    np.testing.assert_array_equal(crop, frame)


@pytest.mark.parametrize("enlarged", [2, 5, 9])
def test_large_faces_are_averaged_not_sampled(enlarged):
    """Noise finer than a crop pixel averages out; sampling it would alias."""
    side = 48 * enlarged
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    crop = align_faces(noise, GEOMETRY.template_px[None] * enlarged, GEOMETRY)[0]
    exact = cv2.resize(noise, (48, 48), interpolation=cv2.INTER_AREA)
    assert crop.std() < 1.6 * exact.std()
    assert abs(float(crop.mean()) - float(exact.mean())) < 1


@pytest.mark.parametrize("degrees", [-30, 20])
@pytest.mark.parametrize("scale", [0.6, 3.3])
def test_turned_and_scaled_face_comes_back(scenery, degrees, scale):
    original = scenery(5, 48, 48)
    turn = cv2.getRotationMatrix2D((24, 24), degrees, scale)
    turn[:, 2] += (150, 120)
    index_turn = turn.copy()
    index_turn[:, 2] += turn[:, :2].sum(axis=1) / 2 - 0.5
    frame = cv2.warpAffine(original, index_turn, (400, 300), flags=cv2.INTER_CUBIC)
    landmarks = GEOMETRY.template_px @ turn[:, :2].T + turn[:, 2]
    crop = align_faces(frame, landmarks[None], GEOMETRY)[0].astype(float)
    inner = np.s_[6:-6, 6:-6]
    assert np.abs(crop[inner] - original[inner]).mean() < 3


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        np.full((5, 2), 1e30),
        np.full((5, 2), 20.0),
        np.zeros((5, 2)),
    ],
)
def test_useless_landmarks_still_give_a_crop(scenery, landmarks):
    crops = align_faces(scenery(1), np.stack([landmarks, GEOMETRY.template_px]), GEOMETRY)
    assert crops.shape == (2, 48, 48, 3)
    expected = align_faces(scenery(1), GEOMETRY.template_px[None], GEOMETRY)[0]
    np.testing.assert_array_equal(crops[1], expected)


def test_no_face_gives_no_crop(scenery):
    crops = align_faces(scenery(1), np.zeros((0, 5, 2), np.float32), GEOMETRY)
    assert crops.shape == (0, 48, 48, 3)
    assert crops.dtype == np.uint8
