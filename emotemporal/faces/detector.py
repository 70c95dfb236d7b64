"""Find faces in one frame, and find a known face again in the next.

The method is MTCNN, see `mtcnn`; the cascade around its three networks is our own.

Coordinates are continuous: a pixel with index i covers [i, i + 1), a picture of width W covers [0, W].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import cv2
import numpy as np

from emotemporal.faces.mtcnn import ONET_SIDE_PX, RNET_SIDE_PX, Network, load_cascade
from emotemporal.structures import Detections

if TYPE_CHECKING:
    import torch

_PYRAMID_FACTOR = 0.709
"""Step between two scales; half the area, as in the paper."""
_PNET_CELL_PX = 12
_PNET_STRIDE_PX = 2
_LOOK_SCALE = 0.9
_LOOK_DOWN = 0.034
"""Where O-Net looks within the cascade, against the square about the box that it then gives: a tenth
smaller, and lower by this part of its side. Medians of 853 faces (8 clips of Java-SED, 2 of RAVDESS, the
demo); left and right are taken for alike. Looked for in that square itself, faces are stretched: eyes 0.7 %
of the face's width too high, the mouth as much too low. Against the cascade on every frame of those clips
95 % of the eyes lie within 2.5 % of the width, and would within 3.6 %; boxes share 0.937 of their union, and
would 0.911."""
_SURE = 0.6
"""Below this score a face is looked for in the whole square as well: after a jerk of the camera too little of
it lies in the smaller one. In 8 staged scenes with shake nobody then gets a second id; without, eleven do."""
_BATCH = 32
"""Crops per pass through R-Net or O-Net: more fall out of the processor's cache, at up to twice the time."""


class FaceFinder(Protocol):
    """A network that finds faces and no more; `RefinedDetector` makes a detector of it."""

    def detect_faces(self, frame: np.ndarray) -> Detections:
        """Find all faces of a frame, uint8 (H, W, 3) RGB.

        Boxes and landmarks are in pixels of the frame; landmarks that it does not find are NaN.
        """
        ...


class FaceDetector(Protocol):
    """What a tracker needs of a detector; boxes and landmarks are in pixels of the given frame.

    Both methods must put one face into one box, and give scores on one scale: `FaceTracker` expects 0.9
    where a track begins, 0.85 in the mean of its key frames, and 0.6 between them. Each face needs all five
    landmarks, by which it is cut out. An attribute `identity`, one line, is what results call the detector;
    without, they call it by its class.
    """

    def detect_faces(self, frame: np.ndarray) -> Detections:
        """Find all faces of a frame, uint8 (H, W, 3) RGB."""
        ...

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        """Look for one face at each of `boxes`, float32 (M, 4); same number, same order.

        A low score says that there is no face.
        """
        ...


def detector_identity(detector: FaceFinder) -> str:
    """Return what results call a detector: two of one identity find the same faces."""
    return str(getattr(detector, "identity", type(detector).__name__))


class MtcnnDetector:
    """MTCNN on a reduced frame, its last stage on the full one.

    Args:
        device: where the networks run.
        backend: what runs them: PyTorch, or OpenVINO on a CPU.
        long_side_px: larger frames are reduced to this long side to search them.
        min_face_px: smallest face that is searched for, in pixels of the reduced frame.
        thresholds: least score to pass P-Net, R-Net and O-Net, each in [0, 1].
    """

    identity = "mtcnn"

    def __init__(
        self,
        device: str | torch.device = "cpu",
        *,
        backend: Literal["torch", "openvino"] = "torch",
        long_side_px: int = 640,
        min_face_px: int = 20,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
    ) -> None:
        if long_side_px < _PNET_CELL_PX:
            raise ValueError(f"long_side_px must be at least {_PNET_CELL_PX}, found {long_side_px}")
        if min_face_px < _PNET_CELL_PX:
            raise ValueError(f"min_face_px must be at least {_PNET_CELL_PX}, found {min_face_px}")
        if len(thresholds) != 3:
            raise ValueError(f"thresholds must be three numbers, found {len(thresholds)}")
        self.long_side_px = long_side_px
        self.min_face_px = min_face_px
        self.thresholds = tuple(float(t) for t in thresholds)
        self._pnet, self._rnet, self._onet = load_cascade(device, backend=backend)

    def detect_faces(self, frame: np.ndarray) -> Detections:
        """Find all faces of a frame.

        Args:
            frame: uint8 (H, W, 3), RGB.
        Returns: the faces, largest first, in pixels of `frame`.
        """
        _check_frame(frame)
        height, width = frame.shape[:2]
        small = reduce_frame(frame, self.long_side_px)
        boxes = self._propose(small)
        boxes = self._filter(small, boxes)
        to_source = np.array([width / small.shape[1], height / small.shape[0]] * 2, np.float32)
        found = self._locate(frame, boxes * to_source)
        found = found[found.scores > self.thresholds[2]]
        return _each_once(found)

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        """Look for one face at each box with O-Net alone, at about half a millisecond a face.

        Args:
            frame: uint8 (H, W, 3), RGB.
            boxes: float32 (M, 4), where the faces were last seen; boxes that are empty, not finite or
                wholly outside of the frame get score 0.
        Returns: M faces in the order of `boxes`.
        """
        found = self.locate_faces(frame, _squares_to_look_at(boxes))
        unsure = np.flatnonzero(found.scores < _SURE)
        if len(unsure):
            wider = self.locate_faces(frame, np.asarray(boxes, np.float32)[unsure])
            better = wider.scores > found.scores[unsure]
            for name in ("boxes", "scores", "landmarks"):
                getattr(found, name)[unsure[better]] = getattr(wider, name)[better]
        return found

    def locate_faces(self, frame: np.ndarray, squares: np.ndarray) -> Detections:
        """Show O-Net these squares, float32 (M, 4), as they are; as `refine_faces` otherwise."""
        _check_frame(frame)
        return self._locate(frame, square_boxes(squares))

    def _propose(self, image: np.ndarray) -> np.ndarray:
        """P-Net over the pyramid: (M, 4) square boxes in pixels of `image`."""
        height, width = image.shape[:2]
        scales, levels = [], []
        level = image
        scale = _PNET_CELL_PX / self.min_face_px
        while min(height, width) * scale >= _PNET_CELL_PX:
            # Bilinear from one level to the next does not alias, the step is below 2; averaging each level
            # from the full image costs 5 ms more and finds no more faces.
            level = cv2.resize(level, (int(width * scale + 1), int(height * scale + 1)))
            scales.append(scale)
            levels.append(level[None])
            scale *= _PYRAMID_FACTOR
        boxes, scores = [], []
        for scale, (shift, probs) in zip(scales, self._pnet(levels), strict=True):
            rows, cols = np.nonzero(probs[0, 1] >= self.thresholds[0])
            corner = np.stack([cols, rows, cols, rows], axis=1).astype(np.float32) * _PNET_STRIDE_PX
            corner[:, 2:] += _PNET_CELL_PX
            found = np.concatenate([corner / np.float32(scale), shift[0, :, rows, cols]], axis=1)
            score = probs[0, 1, rows, cols]
            keep = _suppress(found[:, :4], score, max_overlap=0.5)
            boxes.append(found[keep])
            scores.append(score[keep])
        if not boxes:
            return np.zeros((0, 4), np.float32)
        box, score = np.concatenate(boxes), np.concatenate(scores)
        box = box[_suppress(box[:, :4], score, max_overlap=0.7)]
        side = np.tile(box[:, 2:4] - box[:, :2], 2)
        return square_boxes(box[:, :4] + box[:, 4:] * side)

    def _filter(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """R-Net on each of (M, 4) square boxes: those that hold, moved, (K, 4), square."""
        crops, origin, side = _cut_squares(image, boxes, RNET_SIDE_PX)
        if not len(crops):
            return np.zeros((0, 4), np.float32)
        shift, probs = _run(self._rnet, crops)
        keep = np.nonzero(probs[:, 1] > self.thresholds[1])[0]
        box = np.concatenate([origin, origin + side], axis=1)
        keep = keep[_suppress(box[keep], probs[keep, 1], max_overlap=0.7)]
        return square_boxes(box[keep] + shift[keep] * side[keep])

    def _locate(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        """O-Net on each of (M, 4) square boxes of the frame."""
        usable = _usable(boxes, frame.shape)
        num_faces = len(boxes)
        out_boxes = np.array(boxes, np.float32).reshape(num_faces, 4)
        scores = np.zeros(num_faces, np.float32)
        landmarks = np.repeat((out_boxes[:, None, :2] + out_boxes[:, None, 2:]) / 2, 5, axis=1)
        if usable.any():
            crops, origin, side = _cut_squares(frame, boxes[usable], ONET_SIDE_PX)
            shift, points, probs = _run(self._onet, crops)
            out_boxes[usable] = np.concatenate([origin, origin + side], axis=1) + shift * side
            scores[usable] = probs[:, 1]
            # O-Net gives five x, then five y, as fractions of its crop.
            landmarks[usable] = origin[:, None] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * side[:, None]
        return Detections(out_boxes, scores, landmarks.astype(np.float32))


class RefinedDetector:
    """The faces that one network finds, each looked at by the last stage of another, as of MTCNN.

    So that boxes and landmarks are of one kind on key frames and between them, whichever network found the
    face. One look is enough: from boxes a fifth smaller to a quarter larger, and a tenth off, O-Net's
    landmarks differ by 1 to 3 % of the face's width (median, 62 faces of the demo clip).

    A face's score is that of the surer of both: the tracker's limits were chosen on O-Net, which is surer
    than 0.99 of a clear face; YuNet, as others report, says some 0.95. Where the refinement sees no face, as
    in a profile, the finder's own box and landmarks stay; without landmarks the face is left out, as nothing
    could be cut out.

        detector = RefinedDetector(own_network, MtcnnDetector())

    Args:
        finder: finds faces.
        refiner: locates them, on key frames and between.
        min_refined_score: least score at which the refinement sees a face: the tracker's own.
    """

    def __init__(self, finder: FaceFinder, refiner: FaceDetector, *, min_refined_score: float = 0.6) -> None:
        self.identity = detector_identity(finder)
        self.min_refined_score = min_refined_score
        self._finder = finder
        self._refiner = refiner

    def detect_faces(self, frame: np.ndarray) -> Detections:
        """Find all faces of a frame, uint8 (H, W, 3) RGB; the largest first, in pixels of the frame."""
        _check_frame(frame)
        found = self._finder.detect_faces(frame)
        if not len(found):
            return found
        refined = self._refiner.refine_faces(frame, found.boxes)
        holds = refined.scores >= self.min_refined_score
        merged = Detections(
            np.where(holds[:, None], refined.boxes, found.boxes),
            np.where(holds, np.maximum(refined.scores, found.scores), found.scores),
            np.where(holds[:, None, None], refined.landmarks, found.landmarks),
        )
        return _each_once(merged[holds | np.isfinite(found.landmarks).all(axis=(1, 2))])

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        """Look for one face at each of `boxes`, float32 (M, 4); same number, same order."""
        return self._refiner.refine_faces(frame, boxes)


def reduce_frame(frame: np.ndarray, long_side_px: int) -> np.ndarray:
    """Return a frame whose long side is at most `long_side_px`: the frame itself where that is so."""
    height, width = frame.shape[:2]
    shrink = min(1.0, long_side_px / max(height, width))
    if shrink == 1.0:
        return frame
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _each_once(found: Detections) -> Detections:
    """Return each face once, the largest first."""
    found = found[_suppress_contained(found.boxes, found.scores, max_overlap=0.7)]
    area = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    return found[np.argsort(-area, kind="stable")]


def _run(network: Network, crops: np.ndarray) -> list[np.ndarray]:
    """Pass uint8 (M, S, S, 3), M > 0, through R-Net or O-Net; each output is (M, ...)."""
    parts = [network(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _suppress(boxes: np.ndarray, scores: np.ndarray, *, max_overlap: float) -> np.ndarray:
    """Drop boxes whose intersection with a better one is more than `max_overlap` of their union.

    Returns: int64 (K,), the rows to keep, best first.
    """
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, max_overlap)
    return np.array(kept, np.int64)


def square_boxes(boxes: np.ndarray) -> np.ndarray:
    """Widen or heighten each box to a square about its own centre, (M, 4) float32."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=-np.inf) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _squares_to_look_at(boxes: np.ndarray) -> np.ndarray:
    """(M, 4): what the cascade would show to O-Net of faces whose boxes were these."""
    squares = square_boxes(boxes)
    side = squares[:, 2:] - squares[:, :2]
    centre = (squares[:, :2] + squares[:, 2:]) / 2 + side * np.array([0, _LOOK_DOWN], np.float32)
    half = side * np.float32(_LOOK_SCALE / 2)
    return np.concatenate([centre - half, centre + half], axis=1)


def _check_frame(frame: np.ndarray) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame must be uint8 (H, W, 3), found {frame.dtype} {frame.shape}")


def _usable(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """bool (M,): boxes with a finite area that meet the picture."""
    height, width = shape[:2]
    with np.errstate(invalid="ignore"):
        size = boxes[:, 2] - boxes[:, 0]
        inside = (
            (boxes[:, 2] > 1) & (boxes[:, 3] > 1) & (boxes[:, 0] < width - 1) & (boxes[:, 1] < height - 1)
        )
        sane = (size >= 2) & (size <= 4 * max(height, width))
    return np.isfinite(boxes).all(axis=1) & inside & sane


def _cut_squares(
    image: np.ndarray, boxes: np.ndarray, side_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut square boxes on whole pixels and resize them.

    What lies outside of the picture is black, as in training of MTCNN; facenet-pytorch stretches the
    visible part instead, which moves the landmarks of faces at the border.

    Args:
        image: uint8 (H, W, 3).
        boxes: float32 (M, 4), square.
        side_px: side of the result.
    Returns: crops uint8 (M, side_px, side_px, 3), and what was really cut: origin float32 (M, 2) and
        side float32 (M, 1), for the usable boxes only.
    """
    boxes = boxes[_usable(boxes, image.shape)]
    height, width = image.shape[:2]
    origin = np.rint(boxes[:, :2]).astype(np.int64)
    side = np.maximum(np.rint(boxes[:, 2] - boxes[:, 0]).astype(np.int64), 1)
    crops = np.empty((len(boxes), side_px, side_px, 3), np.uint8)
    for i, ((x, y), s) in enumerate(zip(origin.tolist(), side.tolist(), strict=True)):
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + s, width), min(y + s, height)
        patch = image[top:bottom, left:right]
        if right - left < s or bottom - top < s:
            patch = cv2.copyMakeBorder(
                patch, top - y, y + s - bottom, left - x, x + s - right, cv2.BORDER_CONSTANT
            )
        crops[i] = _shrink(patch, side_px)
    return crops, origin.astype(np.float32), side.astype(np.float32)[:, None]


def _shrink(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Return a square picture averaged down, or enlarged, to a side."""
    whole = -(-len(picture) // (2 * side_px))
    if whole > 1:
        # To a multiple of the side, in steps of at most 2, which skip no pixel. Averages of whole pixels take
        # half of the time or less, and differ by a quarter of a grey level.
        multiple = whole * side_px
        picture = cv2.resize(picture, (multiple, multiple), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA)


def _suppress_contained(boxes: np.ndarray, scores: np.ndarray, *, max_overlap: float) -> np.ndarray:
    """Drop boxes that share more than `max_overlap` of the smaller area with a better one.

    Returns: int64 (K,), the rows to keep, best first.
    """
    area = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner = np.minimum(boxes[order, 2:], boxes[best, 2:]) - np.maximum(boxes[order, :2], boxes[best, :2])
        shared = corner.clip(min=0).prod(axis=1)
        order = order[shared <= max_overlap * np.minimum(area[order], area[best])]
    return np.array(kept, np.int64)
