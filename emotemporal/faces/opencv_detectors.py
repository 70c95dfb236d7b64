"""Face networks that OpenCV runs, from files that the user brings.

YuNet: Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector, 2023; the OpenCV zoo's
`face_detection_yunet_2023mar.onnx` and its like. SSD: Liu and others: SSD: Single Shot MultiBox Detector,
2016, as OpenCV trained it on faces (`opencv_face_detector_uint8.pb`,
`res10_300x300_ssd_iter_140000.caffemodel`). Neither has a last stage that finds a face again from its box;
`detector.RefinedDetector` lends them MTCNN's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from emotemporal.errors import UsageError
from emotemporal.faces.detector import reduce_frame
from emotemporal.structures import Detections

_STRIDES = (8, 16, 32)
_YUNET_OUTPUTS = {
    f"{name}_{stride}": (stride, num_values)
    for name, num_values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    for stride in _STRIDES
}
"""Name -> pixels between two of its places, values at each."""
_YUNET_OVERLAP = 0.3
"""Greatest part of their union that two faces share; as the zoo has it."""
_YUNET_CANDIDATES = 5000
_SSD_SIDE_PX = 300
_SSD_MEAN_BGR = (104.0, 177.0, 123.0)
"""Of the pictures that it was trained on; of both of OpenCV's files."""
_SSD_FACE = 1
"""Class of a face; 0 is everything else."""
_FRAMEWORKS = {".onnx": "onnx", ".pb": "tensorflow", ".caffemodel": "caffe"}


class YunetFinder:
    """YuNet on a reduced frame, by OpenCV's FaceDetectorYN.

    Args:
        path: its ONNX file.
        long_side_px: larger frames are reduced to this long side, as they are for MTCNN.
        min_score: least score of a face, in [0, 1].
    Raises:
        UsageError: the file is missing or no YuNet, or this OpenCV does not run it.
    """

    def __init__(self, path: str | Path, *, long_side_px: int = 640, min_score: float = 0.6) -> None:
        if not hasattr(cv2, "FaceDetectorYN"):
            raise UsageError(f"OpenCV {cv2.__version__} was built without FaceDetectorYN, which runs YuNet")
        content = read_network_file(path)
        self.identity = network_identity("yunet", content)
        self.long_side_px = long_side_px
        # FaceDetectorYN takes the outputs' sizes for granted: others would be read from beyond their ends.
        _require_yunet(_load(path, "onnx", content), path)
        with _silent():
            self._network = cv2.FaceDetectorYN.create(
                "onnx", _buffer(content), _buffer(b""), (32, 32), min_score, _YUNET_OVERLAP, _YUNET_CANDIDATES
            )

    def detect_faces(self, frame: np.ndarray) -> Detections:
        """Find all faces of a frame, uint8 (H, W, 3) RGB, with their landmarks, in pixels of the frame."""
        small = reduce_frame(frame, self.long_side_px)
        height, width = small.shape[:2]
        self._network.setInputSize((width, height))
        _, found = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        # Older versions of OpenCV give None where there is no face.
        rows = np.zeros((0, 15), np.float32) if found is None else found.reshape(-1, 15)
        rows = rows[np.isfinite(rows).all(axis=1)]
        to_source = np.array([frame.shape[1] / width, frame.shape[0] / height], np.float32)
        corner, size = rows[:, :2] * to_source, rows[:, 2:4] * to_source
        # The person's right eye and corner of the mouth come first: those on the left of the picture.
        landmarks = rows[:, 4:14].reshape(-1, 5, 2) * to_source
        return Detections(np.concatenate([corner, corner + size], axis=1), rows[:, 14].copy(), landmarks)


class SsdFinder:
    """A single-shot detector of one class on the frame, squeezed to a square of 300 pixels.

    Args:
        path: its weights: .pb (TensorFlow) or .caffemodel; or .onnx with the same output.
        config: the text that describes its graph, .pbtxt or .prototxt.
        min_score: least score of a face, in [0, 1].
    Raises:
        UsageError: a file is missing or no such network, or this OpenCV does not run it.
    """

    def __init__(self, path: str | Path, config: str | Path | None = None, *, min_score: float = 0.5) -> None:
        framework = _FRAMEWORKS.get(Path(path).suffix.lower())
        if framework is None:
            expected = ", ".join(_FRAMEWORKS)
            raise UsageError(f"--detector ssd: {path}: unknown kind of network, expected one of {expected}")
        contents = [read_network_file(file) for file in (path, config) if file is not None]
        self.identity = network_identity("ssd", *contents)
        self.min_score = min_score
        self._network = _load(path, framework, *contents)
        blank = np.zeros((_SSD_SIDE_PX, _SSD_SIDE_PX, 3), np.uint8)
        try:
            with _silent():
                shape = self._run(blank).shape
        except cv2.error as error:
            raise _not_run(path, error) from error
        if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != 7:
            raise UsageError(
                f"--detector ssd: {path}: no single-shot detector, gives {shape} where (1, 1, faces, 7) is "
                "expected; name OpenCV's opencv_face_detector_uint8.pb or one like it"
            )

    def detect_faces(self, frame: np.ndarray) -> Detections:
        """Find all faces of a frame, uint8 (H, W, 3) RGB, in pixels of the frame; landmarks are NaN."""
        rows = self._run(frame).reshape(-1, 7)
        rows = rows[(rows[:, 1] == _SSD_FACE) & (rows[:, 2] >= self.min_score)]
        height, width = frame.shape[:2]
        boxes = rows[:, 3:] * np.array([width, height] * 2, np.float32)
        keep = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        landmarks = np.full((int(keep.sum()), 5, 2), np.nan, np.float32)
        return Detections(boxes[keep], rows[keep, 2].clip(max=1), landmarks)

    def _run(self, frame: np.ndarray) -> np.ndarray:
        """Return float32 (1, 1, M, 7): picture, class, score, and the box as fractions of the frame."""
        square = (_SSD_SIDE_PX, _SSD_SIDE_PX)
        # Its mean is of BGR.
        self._network.setInput(cv2.dnn.blobFromImage(frame, 1.0, square, _SSD_MEAN_BGR, swapRB=True))
        return np.asarray(self._network.forward())


def network_identity(name: str, *contents: bytes) -> str:
    """Return what results call a network of these files."""
    return " ".join([name, *(f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents)])


def read_network_file(path: str | Path) -> bytes:
    """Return a network file's content.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"--detector: {path}: cannot be read ({error.strerror or error})") from error


def _buffer(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


def _load(path: str | Path, framework: str, content: bytes, graph: bytes = b"") -> cv2.dnn.Net:
    """Let OpenCV read a network from its file's content, and that of a second file."""
    try:
        with _silent():
            return cv2.dnn.readNet(framework, _buffer(content), _buffer(graph))
    except cv2.error as error:
        if framework == "caffe" and int(cv2.__version__.split(".")[0]) >= 5:
            raise UsageError(
                f"--detector: {path}: OpenCV {cv2.__version__} reads no Caffe networks; name the TensorFlow "
                "pair, ssd:opencv_face_detector_uint8.pb,opencv_face_detector.pbtxt, or install OpenCV 4"
            ) from error
        if framework == "tensorflow" and not graph:
            raise UsageError(
                f"--detector: {path}: OpenCV cannot read it alone; name its text too, ssd:FILE.pb,FILE.pbtxt"
            ) from error
        raise _not_run(path, error) from error


def _not_run(path: str | Path, error: cv2.error) -> UsageError:
    return UsageError(
        f"--detector: {path}: OpenCV {cv2.__version__} cannot run this network ({error.err.strip()}); is it "
        "whole, and the right file?"
    )


def _require_yunet(network: cv2.dnn.Net, path: str | Path) -> None:
    names = set(network.getUnconnectedOutLayersNames())
    if missing := [name for name in _YUNET_OUTPUTS if name not in names]:
        raise UsageError(
            f"--detector yunet: {path}: no YuNet, lacks the output {missing[0]}; name "
            "face_detection_yunet_2023mar.onnx of the OpenCV zoo or a later one"
        )
    height, width = 64, 96
    try:
        with _silent():
            network.setInput(np.zeros((1, 3, height, width), np.float32))
            outputs = network.forward(list(_YUNET_OUTPUTS))
    except cv2.error as error:
        raise _not_run(path, error) from error
    for (name, (stride, num_values)), output in zip(_YUNET_OUTPUTS.items(), outputs, strict=True):
        expected = 1, height * width // stride**2, num_values
        if output.shape != expected:
            raise UsageError(
                f"--detector yunet: {path}: no YuNet for pictures of any size, gives {name} {output.shape}, "
                f"not {expected}; name face_detection_yunet_2023mar.onnx of the OpenCV zoo or a later one"
            )


@contextmanager
def _silent() -> Iterator[None]:
    """Keep OpenCV from printing what it raises as well, and what it warns of."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
