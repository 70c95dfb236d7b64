"""From tables of landmarks to a checkpoint that labels clips."""

import json

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import load_geometry_checkpoint
from emotemporal.cli.train_geometry import main
from emotemporal.datasets.ravdess_landmarks import EMOTIONS, read_ravdess_landmarks
from emotemporal.faces.geometry import TEMPLATE
from emotemporal.models.pooled import pool_landmarks
from emotemporal.models.pooled_geometry import GeometryModel

COLUMNS = ["fname", "frame_ct", *(f"pt{i}.{axis}" for axis in "xy" for i in range(1, 69))]


def write_actor(folder, actor, emotions):
    """Two clips of each emotion, six frames each: the mouth opens and the brows rise by what it is."""
    random = np.random.default_rng(actor)
    lines = [",".join(COLUMNS)]
    for emotion, take in ((emotion, take) for emotion in emotions for take in (1, 2)):
        shape = TEMPLATE * (1 + 0.03 * random.normal(), 1)
        shape[48:] += (0, 0.05 * (emotion % 3))
        shape[17:27] -= (0, 0.05 * (emotion // 3))
        for frame in range(6):
            points = 100 * (shape + random.normal(scale=0.003, size=shape.shape)) + 300
            name = f"02-01-{emotion + 1:02d}-01-01-{take:02d}-{actor:02d}.mp4"
            lines.append(",".join(map(str, [name, 5 * frame, *points.T.ravel().round(3)])))
    (folder / f"Actor_{actor:02d}_landmarks.csv").write_text("\n".join(lines))


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for actor in (1, 2, 5, 6):
        write_actor(folder, actor, range(8))
    return folder


def test_what_is_saved_labels_the_clips_it_learnt(tables, tmp_path, capsys):
    output = tmp_path / "toy.safetensors"
    assert main(["--data", str(tables), "--output", str(output), "--num-baseline-clips", "7"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == [
        *("actors 1-2-3-4", "actors 5-6-7-8", "stranger", "baseline of all clips", "baseline of few clips"),
        "checkpoint",
    ]
    assert output.stat().st_size < 1_300_000
    checkpoint = load_geometry_checkpoint(output)
    assert checkpoint.header.labels == EMOTIONS
    assert "excludes commercial use" in checkpoint.header.licence
    report = json.loads((tmp_path / "toy.json").read_text())
    assert report["stranger"]["num"] == 64
    assert checkpoint.header.metrics["stranger"]["accuracy"] == report["stranger"]["accuracy"]
    # Of people held out, not of those it learnt from.
    assert report["stranger"]["accuracy"] > 0.5
    arrays = {name: tensor.double().numpy() for name, tensor in checkpoint.tensors.items()}
    assert arrays["stranger.logistic.weight"].shape == (8, len(arrays["stranger.logistic.mean"]))
    assert checkpoint.tensors["stranger.logistic.weight"].dtype == torch.float16
    model = GeometryModel.from_arrays(arrays, checkpoint.header.temperatures)
    landmarks = read_ravdess_landmarks(tables)
    pooled = np.stack([pool_landmarks(*landmarks.clip(i)) for i in range(64)], axis=1)
    assert (model.predict_probs(pooled).argmax(axis=1) == landmarks.labels).mean() > 0.9
    first = landmarks.actors == 1
    told = model.predict_probs(pooled[:, first], pooled[:, first])
    assert (told.argmax(axis=1) == landmarks.labels[first]).mean() > 0.9
    with pytest.raises(KeyError):
        GeometryModel.from_arrays({}, checkpoint.header.temperatures)


@pytest.mark.parametrize(
    ("actors", "emotions", "flags", "reason"),
    [
        ((1, 2), range(8), [], "actors of one fold alone"),
        ((1, 5), range(7), [], "no clip is left that shows surprise"),
        ((1, 5), range(8), ["--num-baseline-clips", "16"], "actor 1 has 16 clips"),
    ],
)
def test_tables_that_are_too_few(tmp_path, capsys, actors, emotions, flags, reason):
    for actor in actors:
        write_actor(tmp_path, actor, emotions)
    output = tmp_path / "none.safetensors"
    assert main(["--data", str(tmp_path), "--output", str(output), *flags]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert reason in line
    assert not output.exists()


def test_a_baseline_of_one_clip_is_refused(capsys):
    assert main(["--num-baseline-clips", "1"]) == 2
    assert "num_baseline_clips must be at least 2" in capsys.readouterr().err
