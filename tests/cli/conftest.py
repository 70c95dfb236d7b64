"""A clip checkpoint of tiny, untrained networks, and a short clip with faces."""

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from emotemporal.checkpoint import CheckpointHeader, GeometryHeader, save_checkpoint
from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.datasets.ravdess_landmarks import EMOTIONS
from emotemporal.faces.geometry import GEOMETRY_DIM, TEMPLATE
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone
from emotemporal.models.linear import LinearAverage, LinearMap
from emotemporal.models.pooled import AVERAGED
from emotemporal.models.pooled_geometry import GeometryModel
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead

SPEC = BackboneSpec(widths=(8, 16), depths=(1, 1))
HEAD = HeadSpec(kind="gru", width=8)


@pytest.fixture(scope="session")
def tiny_clip_checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny_clip.safetensors"
    head = TemporalHead(HEAD, embedding_dim=16, num_classes=7, trained_classes=range(7))
    tensors = {f"backbone.{k}": v for k, v in build_backbone(SPEC).state_dict().items()}
    tensors |= {f"head.{k}": v for k, v in head.state_dict().items()}
    header = CheckpointHeader(
        kind="clip",
        name="tiny",
        labels=FER7,
        backbone=SPEC,
        temperature=1.0,
        head=HEAD,
        trained_labels=FER7,
        licence="test",
    )
    save_checkpoint(path, header, tensors)
    return path


@pytest.fixture(scope="session")
def tiny_ferplus_checkpoint(tmp_path_factory) -> Path:
    """A clip checkpoint whose frame network has FER+'s classifier besides."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny_ferplus.safetensors"
    spec = replace(SPEC, label_sets={"fer7": FER7, "ferplus8": FERPLUS8})
    head = TemporalHead(HEAD, embedding_dim=16, num_classes=7, trained_classes=range(7))
    tensors = {f"backbone.{k}": v for k, v in build_backbone(spec).state_dict().items()}
    tensors |= {f"head.{k}": v for k, v in head.state_dict().items()}
    header = CheckpointHeader(
        kind="clip",
        name="tiny",
        labels=FER7,
        backbone=spec,
        temperature=1.0,
        temperatures={"ferplus8": 0.5},
        head=HEAD,
        trained_labels=FER7,
        licence="test",
    )
    save_checkpoint(path, header, tensors)
    return path


@pytest.fixture(scope="session")
def tiny_frame_checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny_frame.safetensors"
    tensors = {f"backbone.{k}": v for k, v in build_backbone(SPEC).state_dict().items()}
    header = CheckpointHeader(kind="frame", name="tiny", labels=FER7, backbone=SPEC, temperature=1.0)
    save_checkpoint(path, header, tensors)
    return path


@pytest.fixture(scope="session")
def portrait_frames(root):
    """Nine frames of the demo clip: seven with both people, then a cut and two with one of them."""
    with av.open(str(root / "examples" / "demo.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for _, frame in zip(range(72), container.decode(video=0))]  # noqa: B905
    return frames[63:72]


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory, portrait_frames) -> Path:
    """A silent clip of nine frames at 25 fps."""
    path = tmp_path_factory.mktemp("clip") / "short.mp4"
    height, width = portrait_frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in portrait_frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def portrait_picture(tmp_path_factory, portrait_frames) -> Path:
    path = tmp_path_factory.mktemp("picture") / "both.png"
    cv2.imwrite(str(path), portrait_frames[0][:, :, ::-1])
    return path


@pytest.fixture(scope="session")
def tiny_geometry_checkpoint(tmp_path_factory) -> Path:
    """A geometry checkpoint of small random weights, to which a stranger and a person look different."""
    random = np.random.default_rng(0)
    sizes = {"all": 12 * GEOMETRY_DIM, "measures": 12 * 43, "relative": 10 * GEOMETRY_DIM}
    blocks = {name: block for name, (block, _) in AVERAGED.items()}

    def average() -> LinearAverage:
        maps = {
            name: LinearMap(
                np.zeros(sizes[block]),
                np.ones(sizes[block]),
                random.normal(scale=0.05, size=(8, sizes[block])),
                np.zeros(8),
            )
            for name, block in blocks.items()
        }
        return LinearAverage(maps, blocks)

    model = GeometryModel(average(), average(), {name: np.ones(size) for name, size in sizes.items()})
    path = tmp_path_factory.mktemp("weights") / "tiny_geometry.safetensors"
    temperatures = {"stranger": 1.5, "personal": 2.0}
    header = GeometryHeader("tiny_geometry", EMOTIONS, temperatures, licence="not to sell")
    save_checkpoint(path, header, {n: torch.from_numpy(a) for n, a in model.to_arrays().items()})
    return path


class StubPredictor:
    """Every face is the template in the middle of its box, wider or narrower by where that lies."""

    def predict(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        points = np.empty((len(boxes), 68, 2), np.float32)
        for found, (x1, y1, x2, y2) in zip(points, boxes.astype(float), strict=True):
            size = 0.4 * (y2 - y1) * np.array([1 + x1 % 1 / 10, 1])
            found[:] = TEMPLATE * size + ((x1 + x2) / 2, (y1 + y2) / 2)
        return points


@pytest.fixture
def stub_landmarks(monkeypatch) -> None:
    """Labels by landmarks work without dlib."""
    monkeypatch.setattr("emotemporal.geometry.LandmarkPredictor", StubPredictor)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, short_clip):
    path = tmp_path_factory.mktemp("videos") / "manifest.csv"
    target = path.parent / "other.mp4"
    target.write_bytes(short_clip.read_bytes())
    path.write_text(f"path,label,subject\n{short_clip},happy,ann\n{target.name},neutral,bob\n")
    return path


@pytest.fixture(scope="module")
def store(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    assert extract_faces([str(manifest), "--output", str(folder)]) == 0
    return folder
