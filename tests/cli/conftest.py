"""A clip checkpoint of tiny, untrained networks, and a short clip with faces."""

from dataclasses import replace
from pathlib import Path

import av
import cv2
import pytest
import torch

from emotemporal.checkpoint import CheckpointHeader, save_checkpoint
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone
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
