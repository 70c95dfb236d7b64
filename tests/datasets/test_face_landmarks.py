"""Landmarks of training pictures: found on a real face, flagged on noise, kept, taken back."""

import importlib.util

import cv2
import numpy as np
import pytest

from emotemporal.datasets import face_landmarks as module
from emotemporal.datasets.face_landmarks import face_landmarks
from emotemporal.errors import DataError, UsageError

needs_dlib = pytest.mark.skipif(
    importlib.util.find_spec("dlib") is None or importlib.util.find_spec("face_recognition_models") is None,
    reason="the extra 'landmarks' is not installed",
)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """A face as in FER2013 (NASA portrait, public domain), the same mirrored, and noise."""
    portrait = pytest.importorskip("skimage.data", reason="scikit-image brings the portrait").astronaut()
    face = cv2.cvtColor(portrait[55:185, 160:290], cv2.COLOR_RGB2GRAY)
    face = cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    return np.stack([face, face[:, ::-1], noise])


def test_five_points_of_a_face_and_none_of_noise(pictures):
    found = face_landmarks(pictures, 5)
    assert found.shape == (3, 5, 2)
    assert np.isfinite(found[:2]).all()
    assert np.isnan(found[2]).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = found[0]
    assert 5 < left_eye[0] < nose[0] < right_eye[0] < 43
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1]) < 48
    # In the mirrored picture the same places, counted from the other side.
    mirrored = (48 - found[1, [1, 0, 2, 4, 3], 0], found[1, [1, 0, 2, 4, 3], 1])
    assert np.abs(np.stack(mirrored, 1) - found[0]).max() < 2.5


@needs_dlib
def test_68_points_agree_with_five(pictures, tmp_path):
    found = face_landmarks(pictures, 68, folder=tmp_path)
    assert found.shape == (3, 68, 2)
    assert np.isfinite(found).all()
    five = face_landmarks(pictures, 5, folder=tmp_path)
    for face, points in zip(found[:2], five[:2], strict=True):
        same = np.stack([face[36:42].mean(0), face[42:48].mean(0), face[30], face[48], face[54]])
        assert np.abs(same - points).max() < 4
    assert sorted(path.name.split("_")[0] for path in tmp_path.iterdir()) == ["dlib68", "mtcnn5"]


def test_what_was_found_is_not_looked_for_again(pictures, tmp_path, monkeypatch):
    first = face_landmarks(pictures, 5, folder=tmp_path / "cache")

    def refuse(**settings):
        raise AssertionError("looked for again")

    monkeypatch.setattr(module, "MtcnnDetector", refuse)
    np.testing.assert_array_equal(face_landmarks(pictures, 5, folder=tmp_path / "cache"), first)
    with pytest.raises(AssertionError, match="looked for again"):
        face_landmarks(pictures[::-1], 5, folder=tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_file_is_named(pictures, tmp_path, content):
    face_landmarks(pictures, 5, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match="delete it") as caught:
        face_landmarks(pictures, 5, folder=tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_without_the_extra_one_line_says_how_to_get_it(pictures, monkeypatch, missing):
    from emotemporal.faces import landmarks

    real = importlib.util.find_spec
    present = real("numpy")
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None if name == missing else present)
    with pytest.raises(UsageError, match=r"pip install 'emotemporal\[landmarks\]'") as caught:
        face_landmarks(pictures, 68)
    assert missing in str(caught.value)
