"""Scripted faces, drawn videos of them, and real portraits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch

from emotemporal.faces.detector import MtcnnDetector
from emotemporal.faces.live import FacesNow, LiveTracker
from emotemporal.faces.tracker import FaceTracker
from emotemporal.structures import Detections, FaceRows, FrameBatch, Track

Path2D = Callable[[int], tuple[float, float, float, float] | None]
"""Box of a face on a frame, or None where it is not in the picture."""

COLOURS = ((210, 60, 50), (40, 80, 220), (60, 190, 70))
FPS = 25.0


@dataclass
class StubDetector:
    """Knows where every face is on every frame; reads the frame's number from its first pixel.

    Refinement finds the face that shares most with the given box, as O-Net does.
    """

    paths: list[Path2D]
    undetected: frozenset[int] = frozenset()
    """Frames on which the full detector sees nobody."""
    detect_calls: list[int] = field(default_factory=list)

    def detect_faces(self, frame: np.ndarray) -> Detections:
        index = frame_number(frame)
        self.detect_calls.append(index)
        return stub_detections([] if index in self.undetected else self._boxes(index), 0.99)

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        faces = self._boxes(frame_number(frame))
        found, scores = [], []
        for box in boxes:
            shares = [overlap(box, face) for face in faces]
            best = int(np.argmax(shares)) if shares else -1
            hit = best >= 0 and shares[best] > 0.2
            found.append(faces[best] if hit else box)
            scores.append(0.95 if hit else 0.05)
        return stub_detections(found, np.array(scores, np.float32))

    def _boxes(self, index: int) -> list[np.ndarray]:
        return [np.array(box, np.float32) for path in self.paths if (box := path(index)) is not None]


def stub_detections(boxes: list[np.ndarray], scores: np.ndarray | float) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    scores = np.full(len(boxes), scores, np.float32) if np.isscalar(scores) else scores
    return Detections(boxes, scores, (corner + size * points).astype(np.float32))


def frame_number(frame: np.ndarray) -> int:
    return int(frame[0, 0, 0]) * 256 + int(frame[0, 0, 1])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Shared part of the union of two boxes."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(size.clip(min=0).prod())
    return shared / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def background(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """A smooth random picture; another seed is another scene."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def draw_video(num_frames: int, paths: list[Path2D], scene: Callable[[int], int] = lambda i: 0) -> np.ndarray:
    """uint8 (N, 120, 160, 3): coloured faces over the scene of each frame, numbered for the stub."""
    frames = np.stack([background(scene(i)) for i in range(num_frames)])
    for i, frame in enumerate(frames):
        for path, colour in zip(paths, COLOURS, strict=False):
            if (box := path(i)) is not None:
                x1, y1, x2, y2 = (round(v) for v in box)
                cv2.rectangle(frame, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)
        frame[0, 0] = (i // 256, i % 256, 0)
    return frames


def batches(data: np.ndarray, size: int) -> Iterator[FrameBatch]:
    for start in range(0, len(data), size):
        index = np.arange(start, min(start + size, len(data)))
        yield FrameBatch(data[index], index, 0.5 + index / FPS)


@dataclass
class Run:
    """What a tracker handed out for a video."""

    rows: list[FaceRows]
    tracks: tuple[Track, ...]

    @property
    def frame_index(self) -> np.ndarray:
        return np.concatenate([r.frames.frame_index for r in self.rows])

    def table(self) -> np.ndarray:
        """float64 (M, 6): frame_index, track_id and box of every row."""
        parts = [np.column_stack([r.frames.frame_index[r.row_frame], r.track_id, r.boxes]) for r in self.rows]
        return np.concatenate(parts)


def run_tracker(data: np.ndarray, tracker: FaceTracker, batch_size: int = 8) -> Run:
    rows = [out for batch in batches(data, batch_size) for out in tracker.update(batch)]
    rows += tracker.finish()
    return Run(rows, tracker.tracks())


@pytest.fixture
def track_script() -> Callable[..., Run]:
    """Draw scripted faces, track them with a stub, return what came out."""

    def track(num_frames: int, paths: list[Path2D], **settings) -> Run:
        batch_size = settings.pop("batch_size", 8)
        scene: Mapping | Callable = settings.pop("scene", lambda i: 0)
        detector = settings.pop("detector", None) or StubDetector(paths)
        data = draw_video(num_frames, paths, scene)
        return run_tracker(data, FaceTracker(detector, **settings), batch_size)

    return track


@pytest.fixture
def live_script() -> Callable[..., list[FacesNow]]:
    """Draw scripted faces, follow them frame by frame, return what was told of each."""

    def follow(num_frames: int, paths: list[Path2D], **settings) -> list[FacesNow]:
        scene = settings.pop("scene", lambda i: 0)
        detector = settings.pop("detector", None) or StubDetector(paths)
        tracker = LiveTracker(detector, **settings)
        return [tracker.update(f, 0.5 + i / FPS) for i, f in enumerate(draw_video(num_frames, paths, scene))]

    return follow


@pytest.fixture
def stub() -> type[StubDetector]:
    return StubDetector


@pytest.fixture(scope="session")
def make_batches() -> Callable[..., Iterator[FrameBatch]]:
    return batches


@pytest.fixture(scope="session")
def run() -> Callable[..., Run]:
    return run_tracker


@pytest.fixture(scope="session")
def share() -> Callable[[np.ndarray, np.ndarray], float]:
    return overlap


@pytest.fixture(scope="session")
def scenery() -> Callable[..., np.ndarray]:
    return background


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=["torch", "openvino"])
def mtcnn(request, network_cache) -> MtcnnDetector:
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    return MtcnnDetector(backend=request.param)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """512 x 512 portrait (NASA, public domain)."""
    data = pytest.importorskip("skimage.data", reason="scikit-image brings the portrait")
    return data.astronaut()


@pytest.fixture(scope="session")
def hopper() -> np.ndarray:
    """512 x 600 portrait (US Navy, public domain) from matplotlib's sample data."""
    cbook = pytest.importorskip("matplotlib.cbook", reason="matplotlib brings the portrait")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        encoded = np.frombuffer(file.read(), np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
