"""Find the 68 points of the iBUG scheme (Sagonas et al. 2013) on faces whose boxes are known.

The method is dlib's ensemble of regression trees (Kazemi & Sullivan 2014) with the model that the package
`face_recognition_models` carries. Coordinates are continuous: a pixel with index i covers [i, i + 1).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emotemporal.errors import UsageError

# dlib's trees expect boxes like those of dlib's own detector. Against them, on 224 faces of FER2013, MTCNN's
# are of the same size, but not square, and lie this share of their height too high. Corrected, the points
# move by 0.7 % of the picture's side from those in dlib's own boxes; uncorrected by 1.3 %.
_SIDE = 0.97
_SHIFT_DOWN = 0.066


class LandmarkPredictor:
    """dlib's predictor of 68 points.

    Raises:
        UsageError: dlib or its model is not installed.
    """

    def __init__(self) -> None:
        # The models' package cannot be imported: it needs pkg_resources, which setuptools has given up.
        models = find_spec("face_recognition_models")
        if find_spec("dlib") is None or models is None:
            missing = "dlib-bin" if find_spec("dlib") is None else "face_recognition_models"
            raise UsageError(
                f"68 landmarks need {missing}, which is not installed: pip install 'emotemporal[landmarks]'"
            )
        import dlib

        folder = Path(models.submodule_search_locations[0])
        self._rectangle = dlib.rectangle
        self._predict = dlib.shape_predictor(str(folder / "models" / "shape_predictor_68_face_landmarks.dat"))

    def predict(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Find the points of each face.

        Args:
            image: uint8 (H, W, 3), RGB.
            boxes: float32 (M, 4), xyxy, as MTCNN gives them.
        Returns: float32 (M, 68, 2) in pixels of `image`; points are always found, sensible or not.
        """
        points = np.empty((len(boxes), 68, 2), np.float32)
        for row, box in zip(points, _dlib_boxes(boxes), strict=True):
            found = self._predict(image, self._rectangle(*np.rint(box).astype(int).tolist()))
            row[:] = [(point.x, point.y) for point in found.parts()]
        # dlib counts from pixel centres.
        return points + 0.5


def _dlib_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return what dlib's detector would have given for MTCNN's boxes, (M, 4)."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    centre = centre + np.stack([np.zeros(len(boxes)), _SHIFT_DOWN * size[:, 1]], axis=1)
    half = _SIDE * np.sqrt(size.prod(axis=1, keepdims=True)) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
