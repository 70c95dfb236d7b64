"""Facial landmarks of training pictures, found once and kept beside the run."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from emotemporal.errors import DataError
from emotemporal.faces.detector import MtcnnDetector
from emotemporal.faces.landmarks import LandmarkPredictor
from emotemporal.files import replacing

# FER2013's 48 px are too few for the detector: at four times the size it finds 89 % of 300 faces.
_SEARCH_SIDE_PX = 192
# Faces fill their pictures. With smaller ones allowed it takes twice as long and finds no more.
_MIN_FACE_PX = 90
# MTCNN's last stage on the whole picture, without the search: on 266 faces that the search finds, too, its
# points differ by 1.6 % of the side in the middle and 3.9 % in the worst tenth. It finds 93 % of the others.
_MIN_SCORE = 0.7

Arrays = dict[str, np.ndarray]


def face_landmarks(images: np.ndarray, num_points: int, *, folder: str | Path | None = None) -> np.ndarray:
    """Find the landmarks of pictures that show one face each.

    About 20 milliseconds a face on one core, 10 more for 68 points.

    Args:
        images: uint8 (N, S, S), gray.
        num_points: 5 (MTCNN) or 68 (dlib, from the optional extra `landmarks`).
        folder: where they are kept, and taken from when asked for the same pictures again; None keeps none.
    Returns: float32 (N, P, 2), pixels of the pictures; not a number where no face was found, among five.
        68 points are guessed from the whole picture there.
    Raises:
        DataError: what the folder holds is damaged.
        UsageError: the extra is not installed.
        OutputError: the folder cannot be written.
    """
    folder = None if folder is None else Path(folder)
    if num_points == 68:
        return _kept(folder, "dlib68", images, _find_68(folder))["landmarks"]
    return _kept(folder, "mtcnn5", images, _find_5)["landmarks"]


def _kept(folder: Path | None, name: str, images: np.ndarray, find: Callable[[np.ndarray], Arrays]) -> Arrays:
    """Return what was found in these pictures before, else find it and keep it."""
    if folder is None:
        return find(images)
    digest = hashlib.sha256(repr(images.shape).encode() + images.tobytes()).hexdigest()
    path = folder / f"{name}_{digest[:16]}.npz"
    if not path.exists():
        found = find(images)
        with replacing(path) as temporary:
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(temporary, **dict[str, Any](found))
        return found
    try:
        with np.load(path) as stored:
            found = {key: stored[key] for key in stored}
        if len(found["landmarks"]) != len(images):
            raise ValueError(f"{len(found['landmarks'])} rows for {len(images)} pictures")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: not readable ({error}); delete it to find the landmarks anew") from error
    return found


def _find_5(images: np.ndarray) -> Arrays:
    """Return `landmarks` (N, 5, 2) and `boxes` (N, 4); not a number where there is no face."""
    detector = MtcnnDetector(min_face_px=_MIN_FACE_PX)
    side = images.shape[1]
    landmarks = np.full((len(images), 5, 2), np.nan, np.float32)
    boxes = np.full((len(images), 4), np.nan, np.float32)
    whole = np.array([[0, 0, _SEARCH_SIDE_PX, _SEARCH_SIDE_PX]], np.float32)
    for i, image in enumerate(images):
        picture = _enlarge(image)
        found = detector.detect_faces(picture)
        if len(found) == 0:
            found = detector.locate_faces(picture, whole)
        if found.scores[0] > _MIN_SCORE:
            landmarks[i], boxes[i] = found.landmarks[0], found.boxes[0]
    scale = side / _SEARCH_SIDE_PX
    return {"landmarks": landmarks * scale, "boxes": boxes * scale}


def _find_68(folder: Path | None) -> Callable[[np.ndarray], Arrays]:
    """Return what finds 68 points, in MTCNN's boxes, or the whole picture."""

    def find(images: np.ndarray) -> Arrays:
        predictor = LandmarkPredictor()
        side = images.shape[1]
        boxes = _kept(folder, "mtcnn5", images, _find_5)["boxes"]
        boxes = np.where(np.isfinite(boxes), boxes, np.array([0, 0, side, side], np.float32))
        scale = _SEARCH_SIDE_PX / side
        points = [
            predictor.predict(_enlarge(image), box[None] * scale)[0]
            for image, box in zip(images, boxes, strict=True)
        ]
        return {"landmarks": np.stack(points).astype(np.float32) / np.float32(scale)}

    return find


def _enlarge(image: np.ndarray) -> np.ndarray:
    """uint8 (S, S) gray -> RGB, uint8 (_SEARCH_SIDE_PX, _SEARCH_SIDE_PX, 3)."""
    size = (_SEARCH_SIDE_PX, _SEARCH_SIDE_PX)
    return cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
