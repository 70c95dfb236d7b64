"""Finished cross-validations: what a run folder says of people held out, and several seeds of one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.checkpoint import load_checkpoint
from emotemporal.errors import DataError, UsageError
from emotemporal.labelling.aggregation import AGGREGATIONS
from emotemporal.labels import LABEL_SETS
from emotemporal.training.engine import differing_settings
from emotemporal.training.evaluation import (
    ClipPrediction,
    clip_report,
    fold_report,
    read_predictions,
    spread_over_subjects,
)

_MEASURES = ("accuracy", "uar", "macro_f1", "ece")


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What heads said of clips that they had not seen."""

    folder: Path
    settings: Mapping[str, Any]
    """The run's `config.json`."""
    labels: tuple[str, ...]
    predictions: list[ClipPrediction]
    """Of every clip held out, each once."""
    folds: Mapping[str, list[str]]
    """Name -> ids of the clips held out together; empty where the folder does not tell."""

    @property
    def aggregations(self) -> list[str]:
        """Those that were measured, of `AGGREGATIONS`."""
        return [name for name in AGGREGATIONS if any(name in p.winners for p in self.predictions)]

    @property
    def seed(self) -> int:
        return self.settings["run"]["seed"]

    def checkpoint(self) -> dict[str, str] | None:
        """Return the identity of the head that was trained on all clips afterwards, if there is one."""
        path = self.folder / "best.safetensors"
        return load_checkpoint(path).identity() if path.exists() else None


def read_cross_validation(folder: str | Path) -> CrossValidation:
    """Return the cross-validation that a run folder of `train-clip` holds.

    Raises:
        DataError: it holds none, or its files are damaged.
    """
    folder = Path(folder)
    if not (folder / "predictions.csv").is_file():
        raise DataError(
            f"{folder}: no predictions.csv, so no finished cross-validation; expected run.folder of a "
            "train-clip whose protocol was not none"
        )
    predictions, labels = read_predictions(folder / "predictions.csv")
    try:
        settings = json.loads((folder / "config.json").read_text())
        folds = {
            path.stem: [values["clip_id"] for values in json.loads(path.read_text())]
            for path in sorted((folder / "folds").glob("*.json"))
        }
        if not isinstance(settings["run"]["seed"], int) or not isinstance(settings["protocol"], str):
            raise ValueError("config.json names no seed or protocol")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: not a run folder of train-clip ({error!r})") from error
    held_out = [clip_id for ids in folds.values() for clip_id in ids]
    if sorted(held_out) != sorted(prediction.clip_id for prediction in predictions):
        folds = {}
    return CrossValidation(folder, settings, labels, predictions, folds)


def measure_cross_validation(runs: Sequence[CrossValidation]) -> dict[str, Any]:
    """Measure one cross-validation, or the mean over several that differ in their seed alone.

    Returns: `protocol`, `label_set` (None for a set without a name), `num`, `labels`, `runs` (each `folder`,
        `seed` and `checkpoint`), `settings` of the first, and for each aggregation what `clip_report` or
        `seeds_report` returns; of a single run with folds `folds`, as `fold_report` returns it.
    Raises:
        UsageError: the runs differ in more than the seed, or not even in that.
        DataError: they are of other clips.
    """
    first = runs[0]
    for i, run in enumerate(runs[1:], start=1):
        differing = [name for name in differing_settings(run.settings, first.settings) if name != "run.seed"]
        if differing:
            raise UsageError(
                f"{run.folder} and {first.folder} differ in {', '.join(differing)}; give runs that differ "
                "in run.seed alone"
            )
        same = next((other for other in runs[:i] if other.seed == run.seed), None)
        if same is not None:
            raise UsageError(f"{run.folder} and {same.folder} are both of seed {run.seed}; give each once")
    aggregations = first.aggregations
    if len(runs) == 1:
        measured = clip_report(first.predictions, first.labels, aggregations)
    else:
        measured = seeds_report([run.predictions for run in runs], first.labels, aggregations)
    document = {
        "protocol": first.settings["protocol"],
        "label_set": next((name for name, labels in LABEL_SETS.items() if labels == first.labels), None),
        "num": measured["num"],
        "labels": list(first.labels),
        "runs": [
            {"folder": str(run.folder), "seed": run.seed, "checkpoint": run.checkpoint()} for run in runs
        ],
        "settings": dict(first.settings),
        **measured["aggregations"],
    }
    # Of several seeds the spread over seeds is told, and that over folds is left to each.
    if len(runs) == 1 and len(first.folds) > 1:
        document["folds"] = fold_report(first.predictions, first.folds, aggregations)
    return document


def seeds_report(
    runs: Sequence[Sequence[ClipPrediction]], labels: Sequence[str], aggregations: Sequence[str]
) -> dict[str, Any]:
    """Measure the same clips predicted several times; probabilities are not averaged.

    Args:
        runs: S times predictions of the same N clips, in any order; S at least 2.
        labels: the C emotions.
        aggregations: those the classifiers have.
    Returns: as `clip_report`, every measure the mean over runs, `confusion` the sum, `num` and
        `num_without_prediction` of one run; `interval` is of the mean accuracy: subjects are drawn, each
        clip counts with the share of runs that are right. Besides, `per_run` (each measure's S values) and
        `deviation` (their sample standard deviations).
    Raises:
        DataError: the runs are of other clips, or some clip has another label.
    """
    by_id = [{prediction.clip_id: prediction for prediction in run} for run in runs]
    for other in by_id[1:]:
        if {i: p.label for i, p in other.items()} != {i: p.label for i, p in by_id[0].items()}:
            raise DataError("the runs' predictions are of other clips or labels; extract and train alike")
    ordered = [[found[prediction.clip_id] for prediction in runs[0]] for found in by_id]
    reports = [clip_report(run, labels, aggregations)["aggregations"] for run in ordered]
    subjects = [prediction.subject for prediction in runs[0]]
    merged = {}
    for name in aggregations:
        found = [report[name] for report in reports]
        per_run = {key: [one[key] for one in found] for key in _MEASURES}
        known = {key: values for key, values in per_run.items() if None not in values}
        recalls = {emotion: [one["per_class_recall"][emotion] for one in found] for emotion in labels}
        merged[name] = {
            **found[0],
            **{key: float(np.mean(values)) for key, values in known.items()},
            "per_class_recall": {
                emotion: None if None in values else float(np.mean(values))
                for emotion, values in recalls.items()
            },
            "confusion": np.sum([one["confusion"] for one in found], axis=0).tolist(),
            "per_run": per_run,
            "deviation": {key: float(np.std(values, ddof=1)) for key, values in known.items()},
        }
        if all(subjects):
            right = [[prediction.pred(name) == prediction.label for prediction in run] for run in ordered]
            merged[name] |= spread_over_subjects(np.mean(right, axis=0), subjects)
    return {"num": len(runs[0]), "aggregations": merged}
