"""Checkpoints come back as they went, and what is none is refused in one line."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emotemporal.checkpoint import (
    CheckpointHeader,
    GeometryHeader,
    default_checkpoint,
    load_checkpoint,
    load_geometry_checkpoint,
    save_checkpoint,
    save_head,
    with_head,
)
from emotemporal.errors import CheckpointError, OutputError
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.networks import build_classifier
from emotemporal.structures import CropGeometry

SPEC = BackboneSpec(widths=(8, 16), depths=(1, 1))
HEADER = CheckpointHeader(
    kind="clip",
    name="tiny",
    labels=FER7,
    backbone=SPEC,
    temperature=1.5,
    head=HeadSpec(kind="gru", width=8),
    trained_labels=("angry", "happy"),
    geometry=CropGeometry(side_px=32),
    licence="test",
)


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    backbone = build_backbone(SPEC)
    head = TemporalHead(HEADER.head, embedding_dim=16, num_classes=7, trained_classes=[0, 3])
    found = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    return found | {f"head.{name}": value for name, value in head.state_dict().items()}


def test_round_trip(tmp_path, tensors):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, HEADER, tensors)
    loaded = load_checkpoint(path)
    assert loaded.header.to_json() == HEADER.to_json()
    assert loaded.header.geometry == HEADER.geometry
    assert len(loaded.sha256) == 64
    classifier = build_classifier(loaded)
    assert classifier.labels == FER7
    assert classifier.head.network.trained.tolist() == [True, False, False, True, False, False, False]
    again = build_classifier(load_checkpoint(path))
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        classifier.classify_crops(crops).log_probs, again.classify_crops(crops).log_probs
    )
    assert [child.name for child in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_each_classifier_has_its_temperature(tmp_path):
    spec = replace(SPEC, label_sets={"fer7": FER7, "ferplus8": FERPLUS8})
    header = replace(HEADER, backbone=spec, temperatures={"ferplus8": 0.7})
    loaded = CheckpointHeader.from_json(header.to_json())
    assert loaded.temperature_of("fer7") == 1.5
    assert loaded.temperature_of("ferplus8") == 0.7
    for wrong in ("fer7", "fer9"):
        with pytest.raises(ValueError, match=f"temperatures .'{wrong}'"):
            replace(header, temperatures={wrong: 0.7})


def test_a_head_from_before_streams_sees_appearance():
    older = json.loads(HEADER.to_json())
    del older["head"]["streams"]
    assert CheckpointHeader.from_json(json.dumps(older)).head == replace(HEADER.head, streams="appearance")


def test_a_header_from_before_the_second_temperature_still_loads(tmp_path):
    spec = replace(SPEC, label_sets={"fer7": FER7, "ferplus8": FERPLUS8})
    values = json.loads(replace(HEADER, backbone=spec).to_json())
    del values["temperatures"]
    loaded = CheckpointHeader.from_json(json.dumps(values))
    assert loaded.temperature_of("fer7") == 1.5
    assert loaded.temperature_of("ferplus8") == 1.0


def test_the_shipped_checkpoint_has_both_classifiers():
    shipped = load_checkpoint(default_checkpoint())
    assert build_classifier(shipped).labels == FER7
    second = build_classifier(shipped, classifier="ferplus8")
    assert second.labels == FERPLUS8
    assert second.head is None
    assert second.temperature == shipped.header.temperature_of("ferplus8")


def write_garbage(path, tensors):
    path.write_bytes(b"this is no checkpoint at all")


def write_nothing(path, tensors):
    path.write_bytes(b"")


def write_huge_header(path, tensors):
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def write_truncated(path, tensors):
    save_checkpoint(path, HEADER, tensors)
    path.write_bytes(path.read_bytes()[:-100])


def write_pickle(path, tensors):
    torch.save(tensors, path)


def write_without_header(path, tensors):
    save_file(tensors, path)


def write_future_version(path, tensors):
    values = json.loads(HEADER.to_json()) | {"format_version": 99}
    save_file(tensors, path, metadata={"emotemporal": json.dumps(values)})


def write_list_header(path, tensors):
    save_file(tensors, path, metadata={"emotemporal": "[1, 2]"})


def write_unknown_field(path, tensors):
    values = json.loads(HEADER.to_json()) | {"surprise": 1}
    save_file(tensors, path, metadata={"emotemporal": json.dumps(values)})


@pytest.mark.parametrize(
    "write",
    [
        write_garbage,
        write_nothing,
        write_huge_header,
        write_truncated,
        write_pickle,
        write_without_header,
        write_future_version,
        write_list_header,
        write_unknown_field,
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, tensors, write):
    path = tmp_path / "wrong.safetensors"
    write(path, tensors)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such"):
        load_checkpoint(tmp_path / "absent.safetensors")


def test_tensors_that_do_not_fit_the_header(tmp_path, tensors):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, replace(HEADER, backbone=BackboneSpec(widths=(8, 12), depths=(1, 1))), tensors)
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        build_classifier(load_checkpoint(path))
    assert "\n" not in str(caught.value)


def test_unwritable_folder(tmp_path, tensors):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        save_checkpoint(tmp_path / "file" / "tiny.safetensors", HEADER, tensors)


def test_each_kind_is_loaded_where_it_is_needed(tmp_path, tensors):
    clip, geometry = tmp_path / "clip.safetensors", tmp_path / "geometry.safetensors"
    save_checkpoint(clip, HEADER, tensors)
    header = GeometryHeader("lines", ("sad", "calm"), {"stranger": 1.5}, licence="test", metrics={"num": 3})
    save_checkpoint(geometry, header, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.full((2,), 0.1)})
    loaded = load_geometry_checkpoint(geometry)
    assert loaded.header == header
    assert loaded.identity() == {"name": "lines", "sha256": loaded.sha256, "licence": "test"}
    # Matrices in half precision, all else as it is.
    assert {name: value.dtype for name, value in loaded.tensors.items()} == {
        "a": torch.float16,
        "b": torch.float32,
    }
    with pytest.raises(CheckpointError, match=r"a geometry checkpoint, expected a frame or clip one"):
        load_checkpoint(geometry)
    with pytest.raises(CheckpointError, match=r"a clip checkpoint, expected a geometry one"):
        load_geometry_checkpoint(clip)


def test_a_head_alone_goes_back_on_its_frame_network(tmp_path, tensors):
    frame_path, head_path = tmp_path / "frame.safetensors", tmp_path / "head.safetensors"
    backbone = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    frame_header = replace(HEADER, kind="frame", head=None, trained_labels=(), licence="frames")
    save_checkpoint(frame_path, frame_header, backbone)
    frame = load_checkpoint(frame_path)
    header = replace(HEADER, training={"frame_network": {"sha256": frame.sha256}})
    save_checkpoint(tmp_path / "clip.safetensors", header, tensors)
    save_head(head_path, header, tensors)
    assert head_path.stat().st_size < frame_path.stat().st_size
    clip = load_checkpoint(tmp_path / "clip.safetensors")
    other = replace(clip, arrays={n: v * 0 if n.startswith("head.") else v for n, v in clip.arrays.items()})
    for base in (frame, other):
        joined = with_head(base, head_path)
        assert joined.header.head == HEADER.head
        assert joined.tensors.keys() == clip.tensors.keys()
        assert all(torch.equal(joined.tensors[name], value) for name, value in clip.tensors.items())
        assert build_classifier(joined).head is not None


def test_a_head_of_another_frame_network_is_refused(tmp_path, tensors):
    path, head_path = tmp_path / "clip.safetensors", tmp_path / "head.safetensors"
    save_checkpoint(path, replace(HEADER, training={"frame_network": {"sha256": "a" * 64}}), tensors)
    save_head(head_path, replace(HEADER, training={"frame_network": {"sha256": "b" * 64}}), tensors)
    with pytest.raises(
        CheckpointError, match=r"belongs to the frame network bbbbbbbbbbbb, .* has aaaaaaaaaaaa"
    ):
        with_head(load_checkpoint(path), head_path)
    save_checkpoint(path, HEADER, tensors)
    save_head(head_path, HEADER, tensors)
    with pytest.raises(CheckpointError, match=r"frame network unknown, .* has an unknown one"):
        with_head(load_checkpoint(path), head_path)
    with pytest.raises(CheckpointError, match="a clip checkpoint, expected a head one"):
        with_head(load_checkpoint(path), path)
    with pytest.raises(CheckpointError, match="a head checkpoint, expected a frame or clip one"):
        load_checkpoint(head_path)
