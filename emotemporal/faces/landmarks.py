"""68 landmarks of each face, by dlib's regression trees. Needs the extra `emotemporal[landmarks]`.

Source: Kazemi & Sullivan 2014, "One Millisecond Face Alignment with an Ensemble of Regression Trees".
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from emotemporal.errors import UsageError
from emotemporal.structures import FaceRows

# The predictor expects the squares of dlib's own detector. Their side in heights of MTCNN's box, and how much
# lower than its centre theirs lies: medians over 58 faces of Java-SED and other clips on which both detectors
# agree (10th-90th percentile 0.73-0.90 and 0.02-0.11).
_SIDE, _LOWER = 0.79, 0.07
MODEL_LICENCE = "68 landmarks by dlib's model, which excludes commercial use"


class PointPredictor(Protocol):
    """Finds 68 points in faces; `LandmarkPredictor` does."""

    def predict(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) RGB and float32 (M, 4) xyxy -> float32 (M, 68, 2), pixels."""
        ...


class LandmarkPredictor:
    """Finds 68 points (iBUG's order) in faces that another detector has found.

    Raises:
        UsageError: dlib or its model file is not installed.
    """

    def __init__(self) -> None:
        # The package itself imports pkg_resources, which is gone from new installations: only its place
        # is looked up.
        package = find_spec("face_recognition_models")
        folders = package and package.submodule_search_locations
        if not folders or find_spec("dlib") is None:
            missing = "dlib-bin" if find_spec("dlib") is None else "face_recognition_models"
            raise UsageError(
                f"68 landmarks need {missing}, which is not installed: pip install 'emotemporal[landmarks]'"
            )
        import dlib

        folder = Path(next(iter(folders)))
        model = folder / "models" / "shape_predictor_68_face_landmarks.dat"
        if not model.is_file():
            raise UsageError(f"{model}: no such file; install face_recognition_models again")
        self._rectangle = dlib.rectangle
        self._predictor = dlib.shape_predictor(str(model))

    def predict(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Find the points of each face.

        Args:
            image: uint8 (H, W, 3), RGB.
            boxes: float32 (M, 4), xyxy in pixels, as MTCNN draws them.
        Returns: float32 (M, 68, 2), whole pixels of `image`; beyond its border where the face is cut off.
        """
        image = np.ascontiguousarray(image)
        points = np.empty((len(boxes), 68, 2), np.float32)
        for found, square in zip(points, dlib_boxes(boxes), strict=True):
            shape = self._predictor(image, self._rectangle(*np.rint(square).astype(int).tolist()))
            found[:] = [(part.x, part.y) for part in shape.parts()]
        return points


def predict_rows(predictor: PointPredictor, rows: FaceRows) -> np.ndarray:
    """Find the points of the faces of consecutive frames, float32 (M, 68, 2) in source pixels."""
    points = np.empty((len(rows), 68, 2), np.float32)
    for frame in np.unique(rows.row_frame):
        chosen = rows.row_frame == frame
        points[chosen] = predictor.predict(rows.frames.data[frame], rows.boxes[chosen])
    return points


def dlib_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return the squares that dlib's own detector would draw for MTCNN's boxes, (M, 4) -> (M, 4) xyxy."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    height = boxes[:, 3] - boxes[:, 1]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    centre[:, 1] += _LOWER * height
    half = (_SIDE * height / 2)[:, None]
    return np.concatenate([centre - half, centre + half], axis=1)
