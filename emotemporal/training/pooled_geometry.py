"""Train linear models of pooled landmarks, measured on actors they have not seen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotemporal import __version__
from emotemporal.checkpoint import GeometryHeader, save_checkpoint
from emotemporal.datasets.ravdess_landmarks import (
    EMOTIONS,
    FOLDS_OF_ACTORS,
    RavdessLandmarks,
    actor_folds,
    read_ravdess_landmarks,
)
from emotemporal.datasets.splits import Fold
from emotemporal.errors import DataError
from emotemporal.files import save_json
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.models.baseline import centre_on_person, typical_spread
from emotemporal.models.linear import LinearAverage, log_probs, temper_probs
from emotemporal.models.pooled import AVERAGED, feature_blocks, pool_landmarks
from emotemporal.models.pooled_geometry import GeometryModel
from emotemporal.training.classical import PooledClassifier, PooledReduction
from emotemporal.training.config import GeometryTrainingConfig
from emotemporal.training.metrics import accuracy_interval, classification_metrics

Blocks = Mapping[str, np.ndarray]
"""Name -> features of all clips, float64 (2, N, D)."""


def train_geometry(config: GeometryTrainingConfig, *, on_line: Callable[[str], None] = print) -> Path:
    """Measure the models on actors held out, four at a time, then train them on all.

    Args:
        config: the run.
        on_line: receives one line for each fold and measurement.
    Returns: path of the checkpoint.
    Raises:
        DataError: the tables are malformed, or too few for a measurement.
        OutputError: checkpoint or report cannot be written.
    """
    landmarks = read_ravdess_landmarks(config.data, cache=config.cache)
    folds = actor_folds(FOLDS_OF_ACTORS["6fold"], landmarks.actors)
    _require_enough(landmarks, folds, config)
    pooled = np.stack([pool_landmarks(*landmarks.clip(i)) for i in range(len(landmarks))], axis=1)
    held_out = cross_validate(pooled, landmarks, folds, config, on_line=on_line)
    metrics = {name: _measure(probs, landmarks, folds) for name, probs in held_out.items()}
    for name, found in metrics.items():
        on_line(
            f"{name}: accuracy {found['accuracy']:.1%}, "
            f"{found['interval'][0]:.1%} - {found['interval'][1]:.1%} over actors, "
            f"macro-F1 {found['macro_f1']:.3f}, ece {found['ece']:.3f}"
        )
    temperatures = {
        # What a user has of a person is a few clips: confidence shall be right there.
        name: fit_temperature(log_probs(held_out[measured]), landmarks.labels)
        for name, measured in (("stranger", "stranger"), ("personal", "baseline of few clips"))
    }
    model = fit_geometry(pooled, landmarks.labels, landmarks.actors)
    header = GeometryHeader(
        name=config.output.stem,
        labels=EMOTIONS,
        temperatures=temperatures,
        training={
            "data": f"RAVDESS, 68 landmarks: {len(landmarks)} clips of "
            f"{len(np.unique(landmarks.actors))} actors",
            "averaged": list(AVERAGED),
            "settings": {"num_baseline_clips": config.num_baseline_clips, "seed": config.seed},
            "versions": {"emotemporal": __version__, "numpy": np.__version__},
        },
        licence=config.licence,
        metrics={
            name: {key: found[key] for key in ("num", "accuracy", "interval", "uar", "macro_f1", "ece")}
            for name, found in metrics.items()
        },
    )
    tensors = {name: torch.from_numpy(array) for name, array in model.to_arrays().items()}
    save_checkpoint(config.output, header, tensors)
    save_json(config.output.with_suffix(".json"), metrics)
    return config.output


def cross_validate(
    pooled: np.ndarray,
    landmarks: RavdessLandmarks,
    folds: Sequence[Fold],
    config: GeometryTrainingConfig,
    *,
    on_line: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Let models predict the actors that they were not trained on.

    Returns: float64 (N, C), not tempered, for each way of use: `stranger`; `baseline of all clips`, centred
        and rescaled on the actor's own clips, labels unseen; `baseline of few clips`, told against other
        clips of the actor that show as many emotions.
    """
    labels, actors = landmarks.labels, landmarks.actors
    ways = ("stranger", "baseline of all clips", "baseline of few clips")
    held_out = {way: np.zeros((len(labels), len(EMOTIONS))) for way in ways}
    chosen = _baseline_clips(landmarks, config)
    blocks = feature_blocks(pooled)
    centred = _centre(blocks, actors)
    for fold in folds:
        model = fit_geometry(pooled[:, fold.train], labels[fold.train], actors[fold.train])
        test = fold.test
        held_out["stranger"][test] = model.predict_probs(pooled[:, test])
        held_out["baseline of all clips"][test] = model.personal.predict_probs(
            {name: features[:, test] for name, features in centred.items()}
        )
        held_out["baseline of few clips"][test] = np.concatenate(
            [model.predict_probs(pooled[:, i : i + 1], pooled[:, chosen[i]]) for i in test]
        )
        found = (f"{way} {(p[test].argmax(1) == labels[test]).mean():.1%}" for way, p in held_out.items())
        on_line(f"actors {fold.name}: {', '.join(found)}")
    return held_out


def fit_geometry(pooled: np.ndarray, labels: np.ndarray, actors: np.ndarray) -> GeometryModel:
    """Train both sets of weights, not calibrated.

    Args:
        pooled: (2, N, D), from `pool_landmarks`.
        labels: int (N,), every class in [0, C) occurs.
        actors: (N,), each with several clips.
    """
    blocks = feature_blocks(pooled)
    spread = {name: typical_spread(features, actors) for name, features in blocks.items()}
    personal = fit_average(_centre(blocks, actors), labels, actors)
    return GeometryModel(fit_average(blocks, labels, actors), personal, spread)


def fit_average(blocks: Blocks, labels: np.ndarray, people: np.ndarray) -> LinearAverage:
    """Train each model of `AVERAGED` and fold it into one matrix."""
    reductions = {name: PooledReduction(features) for name, features in blocks.items()}
    reduced = {name: reduce(blocks[name]) for name, reduce in reductions.items()}
    maps = {
        name: PooledClassifier(kind).fit(reduced[block], labels, people).fold(reductions[block])
        for name, (block, kind) in AVERAGED.items()
    }
    return LinearAverage(maps, {name: block for name, (block, _) in AVERAGED.items()})


def _centre(blocks: Blocks, actors: np.ndarray) -> Blocks:
    return {
        name: np.stack([centre_on_person(view, actors, rescale=True) for view in views])
        for name, views in blocks.items()
    }


def _baseline_clips(landmarks: RavdessLandmarks, config: GeometryTrainingConfig) -> list[np.ndarray]:
    """Return for each clip the positions of others of its actor, of emotions as different as possible."""
    random = np.random.default_rng(config.seed)
    chosen = []
    for i, actor in enumerate(landmarks.actors):
        others = random.permutation(np.flatnonzero(landmarks.actors == actor))
        others = others[others != i]
        # The first of every emotion in random order, then the second of each, and so on.
        found = landmarks.labels[others]
        turn = [int((found[:k] == found[k]).sum()) for k in range(len(found))]
        chosen.append(others[np.argsort(turn, kind="stable")][: config.num_baseline_clips])
    return chosen


def _measure(probs: np.ndarray, landmarks: RavdessLandmarks, folds: Sequence[Fold]) -> dict[str, Any]:
    """Measure one way of use; each fold is tempered by the others."""
    labels = landmarks.labels
    tempered = np.zeros_like(probs)
    for fold in folds:
        temperature = fit_temperature(log_probs(probs[fold.train]), labels[fold.train])
        tempered[fold.test] = temper_probs(probs[fold.test], temperature)
    pred = tempered.argmax(axis=1)
    found = classification_metrics(labels, pred, tempered, EMOTIONS)
    people = [str(actor) for actor in landmarks.actors]
    return {**found, "interval": accuracy_interval(pred == labels, people)}


def _require_enough(
    landmarks: RavdessLandmarks, folds: Sequence[Fold], config: GeometryTrainingConfig
) -> None:
    if len(folds) < 2:
        raise DataError(f"{config.data}: actors of one fold alone; expected some of at least two")
    for fold in folds:
        missing = set(range(len(EMOTIONS))) - set(landmarks.labels[fold.train].tolist())
        if missing:
            name = EMOTIONS[min(missing)]
            raise DataError(f"{config.data}: without actors {fold.name} no clip is left that shows {name}")
    actors, counts = np.unique(landmarks.actors, return_counts=True)
    if counts.min() <= config.num_baseline_clips:
        raise DataError(
            f"{config.data}: actor {actors[counts.argmin()]} has {counts.min()} clips, "
            f"num_baseline_clips {config.num_baseline_clips} needs more; give less"
        )
