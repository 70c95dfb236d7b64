"""Training on pixels: overfits eight clips, holds people out, resumes, refuses what does not fit."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crop_clips import CropClip, load_crop_clips
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.errors import DataError, UsageError
from emotemporal.labels import FER7
from emotemporal.models.specs import Clip3dSpec
from emotemporal.structures import CropGeometry, CropSequence
from emotemporal.training.clip3d import (
    Clip3dConfig,
    PixelAugmentation,
    augment_clips,
    measure_clip3d,
    predict_clips3d,
    train_clip3d,
)
from emotemporal.training.config import OptimConfig, RunConfig
from emotemporal.training.engine import RunFolder, make_fabric

TINY = Clip3dSpec(num_frames=2, side_px=32, width_factor=0.5, depth_factor=0.3, head_width=32, dropout=0.0)
LABELS = ("angry", "happy")


def make_config(store, folder, *, epochs: int = 2, **changes) -> Clip3dConfig:
    settings = {
        "store": store,
        "num_views": 2,
        "network": TINY,
        "optim": OptimConfig(epochs=epochs, batch_size=4, optimizer="adamw", lr=0.01, ema_decay=0.5),
        "run": RunConfig(folder=folder, precision="32-true", accelerator="cpu"),
    }
    return Clip3dConfig(**(settings | changes))


def test_eight_clips_can_be_learnt_by_heart(toy_store, tmp_path):
    plain = PixelAugmentation(mirror=False, time_jitter=0.0, gamma=0.0, scale=0.0, shift=0.0)
    config = make_config(toy_store, tmp_path, epochs=30, augmentation=plain)
    clips = load_crop_clips(CropStore.open(toy_store), FER7)
    folder = RunFolder(config.run, {}, {})
    fabric = make_fabric(config.run)
    network = train_clip3d(config, clips, LABELS, fabric, folder=folder, on_line=lambda line: None)
    folder.close()
    found = predict_clips3d(network, clips, LABELS, num_views=2)
    assert [p.pred("head") for p in found] == [p.label for p in found[:8]] + [-1]


def test_people_are_held_out_and_everything_is_written(toy_store, tmp_path):
    lines = []
    report = measure_clip3d(make_config(toy_store, tmp_path), on_line=lines.append)
    assert [line.split(":")[0] for line in lines if line.startswith("fold")] == [
        *("fold ann, epoch 1", "fold ann, epoch 2", "fold ann"),
        *("fold bob, epoch 1", "fold bob, epoch 2", "fold bob"),
    ]
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report))
    head = report["aggregations"]["head"]
    assert head["labels"] == list(LABELS)
    assert set(head["per_subject"]) == {"ann", "bob"}
    # The ninth clip has no face and counts as an error.
    assert head["num"] == 9
    assert head["num_without_prediction"] == 1
    assert head["accuracy"] == pytest.approx(np.trace(head["confusion"]) / 9)
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["head"] == "" for row in rows].count(True) == 1


def test_resuming_equals_not_stopping(toy_store, tmp_path):
    whole = measure_clip3d(make_config(toy_store, tmp_path / "whole"), on_line=lambda line: None)
    for stop_at in ("fold ann, epoch 1", "fold ann:", "fold bob, epoch 1"):

        def stop(line, stop_at=stop_at):
            if line.startswith(stop_at):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            measure_clip3d(make_config(toy_store, tmp_path / "broken"), on_line=stop)
    lines = []
    resumed = measure_clip3d(make_config(toy_store, tmp_path / "broken"), on_line=lines.append)
    assert [line.split(":")[0] for line in lines if "epoch" in line] == ["fold bob, epoch 2"]
    assert resumed == whole
    for name in ("ann", "bob"):
        expected, found = (
            torch.load(tmp_path / run / "folds" / name / "last.ckpt", weights_only=True)
            for run in ("whole", "broken")
        )
        for key, tensor in expected["averaged"].items():
            torch.testing.assert_close(found["averaged"][key], tensor, rtol=0, atol=0, msg=key)


def test_a_run_of_other_settings_is_not_resumed(toy_store, tmp_path):
    measure_clip3d(make_config(toy_store, tmp_path, epochs=1), on_line=lambda line: None)
    with pytest.raises(UsageError, match="num_views"):
        measure_clip3d(make_config(toy_store, tmp_path, epochs=1, num_views=3))


def test_more_processes_than_one_are_refused(toy_store, tmp_path):
    run = RunConfig(folder=tmp_path, devices=2)
    with pytest.raises(UsageError, match=r"run\.devices 2"):
        measure_clip3d(make_config(toy_store, tmp_path, run=run))


def test_training_clips_without_faces_are_refused(tmp_path):
    store = CropStore.create(tmp_path / "store", CropGeometry(), {})
    items = []
    for name in ("ann", "bob"):
        (tmp_path / f"{name}.mp4").touch()
        items.append(ClipItem(tmp_path / f"{name}.mp4", name, "fear", name))
        store.write(items[-1], StoredClip(5, 0, None))
    store.write_index(items)
    with pytest.raises(DataError, match="fold ann: none of its training clips shows a face"):
        measure_clip3d(make_config(tmp_path / "store", tmp_path / "run"))


def test_a_clip_of_one_frame_is_labelled(toy_store, tmp_path):
    config = make_config(toy_store, tmp_path)
    rng = np.random.default_rng(0)
    crops = CropSequence(1, np.arange(1), np.array([3.2]), rng.integers(0, 256, (1, 48, 48, 3), np.uint8))
    clips = [CropClip(f"c{i}", LABELS[i], "ann", "", f"c{i}", crops) for i in range(2)]
    folder = RunFolder(config.run, {}, {})
    network = train_clip3d(
        config, clips, LABELS, make_fabric(config.run), folder=folder, on_line=lambda line: None
    )
    folder.close()
    found = predict_clips3d(network, clips, LABELS, num_views=4)
    assert found[0].probs["head"].sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(found[0].probs["head"], found[1].probs["head"])


def test_augmentation_changes_all_frames_of_a_clip_alike():
    rng = np.random.default_rng(0)
    still = torch.from_numpy(np.repeat(rng.integers(0, 256, (2, 1, 48, 48, 3), np.uint8), 3, axis=1))
    changed = augment_clips(still, PixelAugmentation(), torch.Generator().manual_seed(0))
    assert changed.shape == still.shape
    assert 0 <= changed.min() <= changed.max() <= 255
    torch.testing.assert_close(changed[:, 0], changed[:, 2])
    assert (changed - still).abs().mean() > 5


def test_mirroring_alone_flips_left_and_right():
    rng = np.random.default_rng(0)
    clips = torch.from_numpy(rng.integers(0, 256, (8, 2, 48, 48, 3), np.uint8))
    config = PixelAugmentation(gamma=0.0, scale=0.0, shift=0.0)
    changed = augment_clips(clips, config, torch.Generator().manual_seed(0))
    kinds = set()
    for before, after in zip(clips.float(), changed, strict=True):
        mirrored = torch.allclose(after, before.flip(2), atol=0.1)
        kinds.add(mirrored)
        if not mirrored:
            torch.testing.assert_close(after, before, rtol=0, atol=0.1)
    assert kinds == {True, False}


@pytest.fixture
def benchmark(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    monkeypatch.delitem(sys.modules, "results", raising=False)
    path = Path(root / "benchmarks" / "x3d_java_sed.py")
    spec = importlib.util.spec_from_file_location("x3d_java_sed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_says_what_is_wrong(benchmark, tmp_path, capsys):
    assert benchmark.main([]) == 2
    assert "error: expected STORE [RUN_FOLDER], found 0 arguments" in capsys.readouterr().err
    assert benchmark.main([str(tmp_path), str(tmp_path / "run")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not a crop store" in line
    assert not (tmp_path / "run").exists()


def test_the_benchmark_writes_its_figure(benchmark, toy_store, tmp_path, monkeypatch):
    written = {}

    def write_result(name, value, **rest):
        written.update(name=name, value=value, **rest)

    monkeypatch.setattr(benchmark, "write_result", write_result)
    monkeypatch.setattr(
        benchmark, "Clip3dConfig", lambda store, run: make_config(store, run.folder, epochs=1)
    )
    assert benchmark.main([str(toy_store), str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())["aggregations"]["head"]
    assert (written["name"], written["value"]) == ("java_sed_x3d", report["accuracy"])
    assert written["unit"] == "share of 9 clips"
    assert written["details"]["per_subject"] == report["per_subject"]
    json.dumps(written)
