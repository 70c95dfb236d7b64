"""Finished cross-validations: read back as they were written, averaged over seeds by hand."""

import json

import numpy as np
import pytest

from emotemporal.errors import DataError, UsageError
from emotemporal.training.cross_validation import (
    measure_cross_validation,
    read_cross_validation,
    seeds_report,
)
from emotemporal.training.evaluation import (
    ClipPrediction,
    clip_report,
    read_predictions,
    write_predictions,
)

LABELS = ("angry", "happy", "sad")


def prediction(clip_id: str, label: int, said: int | None, subject: str = "ann") -> ClipPrediction:
    """A clip whose head says `said` with 0.8; None for a clip without a face."""
    if said is None:
        return ClipPrediction(clip_id, subject, label, {}, {})
    probs = np.full(3, 0.1, np.float32)
    probs[said] = 0.8
    return ClipPrediction(clip_id, subject, label, {"head": said}, {"head": probs})


FIRST = [prediction("a", 0, 0), prediction("b", 1, 2, "bob"), prediction("c", 2, None, "bob")]
SECOND = [prediction("c", 2, None, "bob"), prediction("b", 1, 1, "bob"), prediction("a", 0, 0)]


def write_run(folder, predictions, *, seed: int, **settings):
    folder.mkdir()
    write_predictions(folder / "predictions.csv", predictions, LABELS)
    document = {"protocol": "subject-folds", "epochs": 3, "run": {"seed": seed}, **settings}
    (folder / "config.json").write_text(json.dumps(document))
    (folder / "folds").mkdir()
    for name, part in (("1", predictions[:1]), ("2", predictions[1:])):
        rows = [one.to_dict() for one in part]
        (folder / "folds" / f"{name}.json").write_text(json.dumps(rows))
    return folder


def test_predictions_are_read_as_they_were_written(tmp_path):
    write_predictions(tmp_path / "p.csv", FIRST, LABELS)
    found, labels = read_predictions(tmp_path / "p.csv")
    assert labels == LABELS
    for one, other in zip(found, FIRST, strict=True):
        assert (one.clip_id, one.subject, one.label) == (other.clip_id, other.subject, other.label)
        assert one.winners == other.winners
        assert set(one.probs) == set(other.probs)
        for name, probs in one.probs.items():
            np.testing.assert_allclose(probs, other.probs[name], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na.mp4,happy\n", "not a table of predictions"),
        ("clip_id,subject,label,head,head_happy,head_sad\n", "not a table of predictions"),
        ("clip_id,subject,label,head,head_happy,head_sad\na,ann,happy,sad,0.1\n", "line 2: not a prediction"),
        ("clip_id,subject,label,head,head_happy,head_sad\na,ann,fear,sad,0.1,0.9\n", "line 2: not a pred"),
        ("clip_id,subject,label,head,head_happy,head_sad\na,ann,sad,sad,0.1,much\n", "line 2: not a pred"),
    ],
)
def test_a_table_that_is_no_predictions(tmp_path, text, reason):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_predictions(tmp_path / "p.csv")


def test_one_run_is_measured_as_it_was_then(tmp_path):
    run = read_cross_validation(write_run(tmp_path / "run", FIRST, seed=3))
    document = measure_cross_validation([run])
    expected = clip_report(FIRST, LABELS, ["head"])["aggregations"]["head"]
    assert document["head"] == expected | {"ece": pytest.approx(expected["ece"])}
    assert document["head"]["num_without_prediction"] == 1
    assert document["runs"] == [{"folder": str(tmp_path / "run"), "seed": 3, "checkpoint": None}]
    assert document["folds"]["head"]["accuracy"] == {"1": 1.0, "2": 0.0}
    assert document["labels"] == list(LABELS)
    assert "sum" not in document


def test_means_over_seeds_by_hand():
    found = seeds_report([FIRST, SECOND], LABELS, ["head"])["aggregations"]["head"]
    assert found["per_run"]["accuracy"] == pytest.approx([1 / 3, 2 / 3])
    assert found["accuracy"] == pytest.approx(0.5)
    assert found["deviation"]["accuracy"] == pytest.approx(np.sqrt(2) / 6)
    assert found["per_class_recall"] == {"angry": 1.0, "happy": 0.5, "sad": 0.0}
    # Of bob's two clips one is right in one of two runs, the other has no face.
    assert found["per_subject"] == {"ann": 1.0, "bob": 0.25}
    assert found["interval"] == (pytest.approx(0.25), pytest.approx(1.0))
    assert found["confusion"] == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert (found["num"], found["num_without_prediction"]) == (3, 1)


def test_runs_that_do_not_go_together(tmp_path):
    first, same, other, fewer = (
        read_cross_validation(write_run(tmp_path / name, predictions, seed=seed, **settings))
        for name, predictions, seed, settings in (
            ("first", FIRST, 0, {}),
            ("same", SECOND, 0, {}),
            ("other", SECOND, 1, {"epochs": 4}),
            ("fewer", SECOND[1:], 1, {}),
        )
    )
    with pytest.raises(UsageError, match=r"both of seed 0"):
        measure_cross_validation([first, same])
    with pytest.raises(UsageError, match=r"differ in epochs; give runs that differ in run.seed alone"):
        measure_cross_validation([first, other])
    with pytest.raises(DataError, match=r"other clips"):
        measure_cross_validation([first, fewer])


def test_folders_that_hold_no_cross_validation(tmp_path):
    with pytest.raises(DataError, match=r"no finished cross-validation"):
        read_cross_validation(tmp_path)
    folder = write_run(tmp_path / "run", FIRST, seed=0)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"not a run folder"):
        read_cross_validation(folder)
