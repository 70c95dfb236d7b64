"""Toy data: patterns that a tiny network can tell apart."""

from pathlib import Path

import numpy as np
import pytest

from emotemporal.checkpoint import CheckpointHeader, save_checkpoint
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.labels import FER7
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BackboneSpec
from emotemporal.structures import CropGeometry, CropSequence

TINY = BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.0)


def pattern(label: int, rng: np.random.Generator) -> np.ndarray:
    """A 48x48 picture whose stripes tell its label."""
    rows = np.arange(48)[:, None] * np.ones(48)
    wave = np.sin(rows * 2 * np.pi * (label + 1) / 48) * 80 + 128
    return np.clip(wave + rng.normal(0, 10, (48, 48)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def toy_fer2013(tmp_path_factory) -> Path:
    """A csv in FER2013's form: 84 training faces, 21 in each other split."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("fer") / "fer2013.csv"
    lines = ["emotion,pixels,Usage"]
    for split, num in (("Training", 84), ("PublicTest", 21), ("PrivateTest", 21)):
        for i in range(num):
            pixels = " ".join(map(str, pattern(i % 7, rng).ravel()))
            lines.append(f"{i % 7},{pixels},{split}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def toy_ferplus(toy_fer2013) -> Path:
    """FER+ votes beside the toy faces: all ten agree, but on every fifth face there is no majority."""
    columns = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    order = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    lines = [",".join(["Usage", "Image name", *columns, "unknown", "NF"])]
    for i, row in enumerate(toy_fer2013.read_text().splitlines()[1:]):
        label, _, split = row.split(",")
        votes = [10 if name == order[int(label)] else 0 for name in columns]
        if i % 5 == 0:
            votes = [5, 5, 0, 0, 0, 0, 0, 0]
        lines.append(",".join([split, "", *map(str, votes), "0", "0"]))
    path = toy_fer2013.parent / "fer2013new.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def frame_checkpoint(tmp_path_factory) -> Path:
    """An untrained frame network."""
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("frame") / "frame.safetensors"
    header = CheckpointHeader(kind="frame", name="toy", labels=FER7, backbone=TINY, temperature=1.0)
    tensors = {f"backbone.{name}": value for name, value in build_backbone(TINY).state_dict().items()}
    save_checkpoint(path, header, tensors)
    return path


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory) -> Path:
    """Eight clips of two people and two emotions, and one without a face."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("store")
    store = CropStore.create(folder, CropGeometry(), {})
    items = []
    for i in range(9):
        label = (0, 3)[i % 2]
        clip_id = f"clip{i}"
        crops = None
        if i < 8:
            pictures = np.stack([pattern(label + (t % 2), rng) for t in range(6)])
            colour = np.repeat(pictures[..., None], 3, axis=-1)
            crops = CropSequence(1, np.arange(6), np.arange(6) / 25, colour)
        video = folder / f"{clip_id}.mp4"
        video.touch()
        items.append(ClipItem(video, clip_id, FER7[label], ("ann", "bob")[i // 2 % 2]))
        store.write(items[-1], StoredClip(6, 1 if crops else 0, crops))
    store.write_index(items)
    return folder
