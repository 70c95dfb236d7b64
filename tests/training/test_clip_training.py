"""Clip training: overfits eight clips, holds people out, resumes, refuses what does not fit."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emotemporal.checkpoint import load_checkpoint, with_head
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.datasets.sequences import load_sequences
from emotemporal.errors import CheckpointError, DataError, UsageError
from emotemporal.models.specs import HeadSpec
from emotemporal.networks import build_classifier
from emotemporal.structures import CropGeometry
from emotemporal.training.clip import train_clip
from emotemporal.training.config import (
    ClipConfig,
    OptimConfig,
    RunConfig,
    SequenceAugmentation,
    SimulationConfig,
)
from emotemporal.training.evaluation import clip_report, predict_clips


def make_config(store, checkpoint, folder, *, kind: str = "bigru", epochs: int = 40, **changes) -> ClipConfig:
    settings = {
        "store": store,
        "frame_checkpoint": checkpoint,
        "protocol": "none",
        "head": HeadSpec(kind=kind, width=16, num_attention_heads=2, dropout=0.0),
        "augmentation": SequenceAugmentation(mirror=False, max_stride=1, embedding_noise=0.0),
        "optim": OptimConfig(epochs=epochs, batch_size=4, optimizer="adamw", lr=0.01, ema_decay=0.5),
        "run": RunConfig(folder=folder, precision="32-true", accelerator="cpu"),
    }
    return ClipConfig(**(settings | changes))


@pytest.mark.parametrize("kind", ["gru", "bigru", "transformer"])
def test_eight_clips_can_be_learnt_by_heart(toy_store, frame_checkpoint, tmp_path, kind):
    path = train_clip(
        make_config(toy_store, frame_checkpoint, tmp_path, kind=kind), on_line=lambda line: None
    )
    checkpoint = load_checkpoint(path)
    assert checkpoint.header.kind == "clip"
    # The head alone, put back on the frame network, is the same.
    again = with_head(load_checkpoint(frame_checkpoint), path.with_name("head.safetensors"))
    assert again.tensors.keys() == checkpoint.tensors.keys()
    assert all(torch.equal(again.tensors[name], value) for name, value in checkpoint.tensors.items())
    assert checkpoint.header.trained_labels == ("angry", "happy")
    classifier = build_classifier(checkpoint)
    clips = load_sequences(CropStore.open(toy_store), classifier)
    report = clip_report(predict_clips(classifier, clips), classifier.labels, ["head"])["aggregations"][
        "head"
    ]
    # The ninth clip has no face and counts as an error.
    assert report["num_without_prediction"] == 1
    assert report["accuracy"] == pytest.approx(8 / 9)


def test_people_are_held_out_and_everything_is_written(toy_store, frame_checkpoint, tmp_path):
    config = make_config(toy_store, frame_checkpoint, tmp_path, epochs=2, protocol="leave-one-subject-out")
    lines = []
    path = train_clip(config, on_line=lines.append)
    assert [line.split(":")[0] for line in lines if line.startswith("fold")] == ["fold ann", "fold bob"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["aggregations"]) == {"head", "sum", "vote"}
    head = report["aggregations"]["head"]
    assert np.sum(head["confusion"]) == 8
    assert head["num_without_prediction"] == 1
    assert set(head["per_subject"]) == {"ann", "bob"}
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    assert rows[-1]["head"] == "" or len([row for row in rows if row["head"] == ""]) == 1
    metrics = load_checkpoint(path).header.metrics["leave-one-subject-out"]
    assert metrics["head"]["accuracy"] == pytest.approx(head["accuracy"])


def test_simulated_clips_set_the_trust(toy_store, frame_checkpoint, toy_fer2013, tmp_path):
    faces = Path(shutil.copy(toy_fer2013, tmp_path))
    config = make_config(
        toy_store,
        frame_checkpoint,
        tmp_path / "with",
        epochs=2,
        protocol="leave-one-subject-out",
        simulated=SimulationConfig(faces, num_clips=14),
    )
    path = train_clip(config, on_line=lambda line: None)
    assert json.loads((tmp_path / "with" / "report.json").read_text())["num"] == 9
    header = load_checkpoint(path).header
    # They are not learnt from: only the real clips' emotions are.
    assert header.trained_labels == ("angry", "happy")
    assert "14 clips simulated" in header.training["data"]
    assert "FER2013" in header.licence
    without = replace(
        config, simulated=SimulationConfig(), run=replace(config.run, folder=tmp_path / "without")
    )
    plain = load_file(train_clip(without, on_line=lambda line: None))
    found = load_file(path)
    assert not torch.equal(found["head.motion_range"], plain["head.motion_range"])
    torch.testing.assert_close(found["head.motion_scale"], plain["head.motion_scale"], rtol=0, atol=0)

    faces.write_text("".join(faces.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UsageError, match=r"other inputs\.simulated_faces;"):
        train_clip(config)
    faces.unlink()
    with pytest.raises(DataError, match=r"simulated\.faces .*fer2013\.csv: no such file"):
        train_clip(config)


def split_store(toy_store, folder, splits, *, source="") -> None:
    """Copy the toy store with splits, and one source for the first and the last clip."""
    shutil.copytree(toy_store, folder)
    store = CropStore.open(folder)
    rows = store.read_index()
    ends = (rows[0].clip_id, rows[-1].clip_id)
    items = [
        ClipItem(Path(r.path), r.clip_id, r.label, split=split, source=source if r.clip_id in ends else "")
        for r, split in zip(rows, splits, strict=True)
    ]
    store.write_index(items)


def test_the_data_sets_own_split(toy_store, frame_checkpoint, tmp_path):
    splits = ["train"] * 4 + ["test"] * 2 + ["val"] * 3
    split_store(toy_store, tmp_path / "store", splits)
    given = {"epochs": 2, "protocol": "train-validation"}
    config = make_config(tmp_path / "store", frame_checkpoint, tmp_path / "run", **given)
    path = train_clip(config, on_line=lambda line: None)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["num"] == 3
    # Neither the clips it was measured on nor those of the test split are in the checkpoint.
    assert load_checkpoint(path).header.training["sources"] == [f"clip{i}" for i in range(4)]


def test_a_split_that_leaks_is_not_trained_on(toy_store, frame_checkpoint, tmp_path):
    split_store(toy_store, tmp_path / "store", ["train"] * 6 + ["val"] * 3, source="film")
    config = make_config(tmp_path / "store", frame_checkpoint, tmp_path / "run", protocol="train-validation")
    with pytest.raises(DataError, match="source videos on both sides of the split: film"):
        train_clip(config, on_line=lambda line: None)


def test_resuming_equals_not_stopping(toy_store, frame_checkpoint, tmp_path):
    changes = {"epochs": 12, "protocol": "leave-one-subject-out"}
    whole = train_clip(
        make_config(toy_store, frame_checkpoint, tmp_path / "whole", **changes), on_line=lambda line: None
    )
    for stop_at in ("fold ann", "epoch 10"):

        def stop(line, stop_at=stop_at):
            if line.startswith(stop_at):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_clip(make_config(toy_store, frame_checkpoint, tmp_path / "broken", **changes), on_line=stop)
    resumed = train_clip(
        make_config(toy_store, frame_checkpoint, tmp_path / "broken", **changes), on_line=lambda line: None
    )
    expected, found = load_file(whole), load_file(resumed)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("changes", [{"frame_weight": 0.1}, {"subjects": ("ann", "bob")}])
def test_a_run_of_other_settings_is_not_resumed(toy_store, frame_checkpoint, tmp_path, changes):
    train_clip(make_config(toy_store, frame_checkpoint, tmp_path, epochs=1), on_line=lambda line: None)
    with pytest.raises(UsageError, match=next(iter(changes))):
        train_clip(make_config(toy_store, frame_checkpoint, tmp_path, epochs=1, **changes))


def test_a_store_without_faces_is_refused(frame_checkpoint, tmp_path):
    store = CropStore.create(tmp_path / "store", CropGeometry(), {})
    (tmp_path / "a.mp4").touch()
    item = ClipItem(tmp_path / "a.mp4", "a", "fear", "ann")
    store.write(item, StoredClip(5, 0, None))
    store.write_index([item])
    with pytest.raises(DataError, match="none of its 1 clips"):
        train_clip(make_config(tmp_path / "store", frame_checkpoint, tmp_path / "run"))


def test_another_geometry_is_refused(frame_checkpoint, tmp_path):
    store = CropStore.create(tmp_path / "store", CropGeometry(side_px=32), {})
    store.write_index([])
    with pytest.raises(DataError, match="side_px 32, not 48"):
        train_clip(make_config(tmp_path / "store", frame_checkpoint, tmp_path / "run"))


def test_a_clip_checkpoint_is_no_frame_checkpoint(toy_store, frame_checkpoint, tmp_path):
    path = train_clip(
        make_config(toy_store, frame_checkpoint, tmp_path / "a", epochs=1), on_line=lambda line: None
    )
    with pytest.raises(CheckpointError, match="expected a frame one"):
        train_clip(make_config(toy_store, path, tmp_path / "b"))


def test_the_same_seed_gives_the_same_weights_in_any_number_of_threads(toy_store, frame_checkpoint, tmp_path):
    weights = []
    before = torch.get_num_threads()
    try:
        for number, seed in ((1, 0), (2, 0), (1, 1)):
            torch.set_num_threads(number)
            config = make_config(toy_store, frame_checkpoint, tmp_path / f"{number}-{seed}", epochs=3)
            config = replace(config, run=replace(config.run, seed=seed))
            weights.append(load_file(train_clip(config, on_line=lambda line: None)))
    finally:
        torch.set_num_threads(before)
    first, same, other = weights
    assert all(torch.equal(same[name], value) for name, value in first.items())
    assert not all(torch.equal(other[name], value) for name, value in first.items())
