"""Checkpoints that claim what they do not hold are refused before they cost time or memory."""

import json
import struct
import time

import pytest
import torch
from safetensors.torch import save_file

from emotemporal.checkpoint import CheckpointHeader, GeometryHeader, load_checkpoint, load_geometry_checkpoint
from emotemporal.errors import CheckpointError
from emotemporal.labels import FER7
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.networks import build_classifier

SPEC, HEAD = BackboneSpec(widths=(8, 16), depths=(1, 1)), HeadSpec(width=8)
HEADER = CheckpointHeader(
    kind="clip", name="tiny", labels=FER7, backbone=SPEC, temperature=1.0, head=HEAD, trained_labels=FER7
)


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    head = TemporalHead(HEAD, embedding_dim=16, num_classes=7, trained_classes=range(7))
    parts = {"backbone.": build_backbone(SPEC), "head.": head}
    return {f"{prefix}{k}": v.clone() for prefix, part in parts.items() for k, v in part.state_dict().items()}


def changed(*path, value):
    """Return the text of a header in which one value is another."""
    document = json.loads(HEADER.to_json())
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(document)


HEADERS = {
    "deeply nested": '{"kind": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "too long": '{"kind": "clip", "x": "' + "x" * (17 << 20) + '"}',
    "too wide": changed("backbone", "widths", value=[10**6, 10**6]),
    "wide as far as allowed": changed("backbone", "widths", value=[1200, 8]),
    "too deep": changed("backbone", "depths", value=[10**9, 1]),
    "deep as far as allowed": changed("backbone", "depths", value=[1, 255]),
    "negative": changed("backbone", "widths", value=[-8, 16]),
    "no numbers": changed("backbone", "widths", value=["8", "16"]),
    "a wide head": changed("head", "width", value=10**6),
    "a head as wide as allowed": changed("head", "width", value=1024),
    "layers": changed("head", "num_layers", value=10**6),
    "an unknown head": changed("head", "kind", value="../../x"),
    "no head": changed("head", value=None),
    "huge crops": changed("geometry", "side_px", value=10**9),
    "a template of text": changed("geometry", "template", value=[["a", "b"]] * 5),
    "a template of nothing": changed("geometry", "template", value=[[float("nan"), 0.0]] * 5),
    "no temperature": changed("temperature", value=0),
    "temperature NaN": changed("temperature", value=float("nan")),
    "temperature of text": changed("temperature", value="1"),
    "dwell": changed("dwell_seconds", value=float("inf")),
    "a name that is a list": changed("name", value=["x"]),
    "a path for a label set": changed("backbone", "label_sets", value={"../../x": list(FER7)}),
    "a formula for a label": changed("backbone", "label_sets", value={"fer7": ["=1+1", *FER7[1:]]}),
    "a command for a label": changed("backbone", "label_sets", value={"fer7": ["a\x1b[31m", *FER7[1:]]}),
    "training that is a number": changed("training", value=7),
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_a_header_that_lies_is_refused_at_once(tmp_path, tensors, text):
    path = tmp_path / "lie.safetensors"
    save_file(tensors, path, metadata={"emotemporal": text})
    start = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        build_classifier(load_checkpoint(path))
    assert time.monotonic() - start < 5
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


def test_the_header_as_it_was_is_taken(tmp_path, tensors):
    path = tmp_path / "true.safetensors"
    save_file(tensors, path, metadata={"emotemporal": changed("name", value="other")})
    assert build_classifier(load_checkpoint(path)).labels == FER7


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, tensors, value):
    path = tmp_path / "nan.safetensors"
    broken = {name: tensor.clone() for name, tensor in tensors.items()}
    broken["backbone.stem.weight"].view(-1)[3] = value
    save_file(broken, path, metadata={"emotemporal": HEADER.to_json()})
    with pytest.raises(CheckpointError, match=r"backbone.stem.weight holds numbers that are not finite"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "index",
    [
        {"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"w": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 8]}},
    ],
)
def test_tensors_of_lying_sizes_are_refused(tmp_path, index):
    path = tmp_path / "sizes.safetensors"
    text = json.dumps({"__metadata__": {"emotemporal": HEADER.to_json()}, **index}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(CheckpointError, match="not a checkpoint, or damaged"):
        load_checkpoint(path)


def test_a_file_that_is_far_too_long_is_not_read(tmp_path):
    path = tmp_path / "long.safetensors"
    with path.open("wb") as stream:
        stream.truncate(3 << 30)  # takes no room on the disk
    with pytest.raises(CheckpointError, match="too many for a checkpoint"):
        load_checkpoint(path)


def test_geometry_temperatures_are_checked_too(tmp_path, tensors):
    path = tmp_path / "geometry.safetensors"
    text = GeometryHeader("g", FER7, {"stranger": 1.0, "personal": 1.0}).to_json()
    save_file(tensors, path, metadata={"emotemporal": text.replace('"stranger": 1.0', '"stranger": 0.0')})
    with pytest.raises(CheckpointError, match="temperature of stranger must be a positive number"):
        load_geometry_checkpoint(path)
