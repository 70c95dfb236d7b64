"""Clip accuracy on AFEW 2 (EmotiW 2013), train -> validation, from the frame posteriors of its winners.

Everything is done three times, with other folds and other heads; figures are means.

python benchmarks/afew2.py ../shared/data/afew2_posteriors

Every setting, and what is averaged, was chosen by cross-validation inside the training clips, clips of one
scene held out together; the column `train` shows what it found. Validation is the test here.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from results import write_result
from rich.console import Console
from rich.table import Table
from scipy.special import softmax

from emotemporal.datasets.afew_posteriors import PosteriorClip, read_afew_posteriors, to_sequence
from emotemporal.datasets.sequences import ClipSequence
from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote
from emotemporal.labelling.calibration import fit_bias
from emotemporal.labels import FER7
from emotemporal.models.pooled import pool_statistics
from emotemporal.models.specs import HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.structures import ClipBatch
from emotemporal.training.classical import CLASSICAL_MODELS, clip_folds, fit_classical
from emotemporal.training.clip import train_head
from emotemporal.training.config import ClipConfig, OptimConfig, RunConfig, SequenceAugmentation
from emotemporal.training.engine import make_fabric
from emotemporal.training.metrics import accuracy_interval, classification_metrics

_SEEDS = (0, 1, 2)
_HEAD_KINDS = ("bigru", "gru", "transformer")
# The likelihood of held-out training clips chooses among these.
_AVERAGES = {
    "classical": ("ridge", "logistic", "svm"),
    "classical and trees": ("ridge", "logistic", "svm", "trees"),
    "classical and heads": ("ridge", "logistic", "svm", *(f"head, {kind}" for kind in _HEAD_KINDS)),
}
_MIN_PROB = 1e-4
# The largest first.
_QUANTILES = (1.0, 0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Probabilities by one method."""

    train: np.ndarray
    """(N, 7), of training clips, held out where the method learns anything."""
    validation: np.ndarray
    """(M, 7)."""
    settings: dict[str, Any] = field(default_factory=dict)


def main(folder: str) -> None:
    torch.set_num_threads(1)
    splits = [read_afew_posteriors(folder, split) for split in ("train", "validation")]
    train, validation = (np.array([clip.label for clip in clips]) for clips in splits)
    features = [np.stack([pooled(clip) for clip in clips]) for clips in splits]
    runs = [predict(splits, features, seed=seed) for seed in _SEEDS]
    methods = {name: _measure([run[name] for run in runs], train, validation) for name in runs[0]}
    _print_table(methods)
    best = methods["average"]
    details = {
        "num": len(validation),
        "num_train": len(train),
        "seeds": list(_SEEDS),
        "per_seed": best["per_seed"],
        "deviation": best["deviation"],
        "interval_of": "accuracy averaged over seeds; bootstrap over clips",
        "methods": methods,
        "looks_at_validation": 1,
    }
    write_result(
        "afew2_validation",
        best["accuracy"],
        unit=f"share of {len(validation)} clips, mean over {len(_SEEDS)} seeds",
        interval=best["interval"],
        details=details,
    )


def predict(
    splits: Sequence[Sequence[PosteriorClip]], features: Sequence[np.ndarray], *, seed: int
) -> dict[str, Outcome]:
    """Return what each method says.

    Args:
        splits: clips of train, and of validation.
        features: (N, F) and (M, F), of these, by `pooled`.
        seed: of the folds within train, and of the heads.
    """
    labels = np.array([clip.label for clip in splits[0]])
    outcomes = {
        "sum": Outcome(*(_aggregated(clips, aggregate_sum) for clips in splits)),
        "vote": Outcome(*(_aggregated(clips, aggregate_vote) for clips in splits)),
        "sum, bias corrected": _corrected(*splits, seed=seed),
    }
    scenes = [clip.scene for clip in splits[0]]
    for name in CLASSICAL_MODELS:
        model = fit_classical(name, features[0], labels, groups=scenes, seed=seed)
        outcomes[name] = Outcome(
            model.held_out_probs, model.predict_probs(features[1]), {"chosen": dict(model.settings)}
        )
    for kind in _HEAD_KINDS:
        outcomes[f"head, {kind}"] = _heads(kind, *splits, seed=seed)
    averages = {name: _average([outcomes[member] for member in of]) for name, of in _AVERAGES.items()}
    chosen = min(averages, key=lambda name: _loss(averages[name].train, labels))
    outcomes["average"] = replace(averages[chosen], settings={"of": list(_AVERAGES[chosen])})
    return outcomes


def pooled(clip: PosteriorClip) -> np.ndarray:
    """Return statistics of probabilities and their centred logarithms, counts of frames and faces, (114,)."""
    log_probs = np.log(clip.probs.clip(_MIN_PROB))
    centred = log_probs - log_probs.mean(1, keepdims=True)
    counts = np.log([len(clip), len(set(clip.face))])
    return np.concatenate([*(pool_statistics(rows, _QUANTILES) for rows in (clip.probs, centred)), counts])


def _aggregated(clips: Sequence[PosteriorClip], aggregate: Any) -> np.ndarray:
    """(N, 7); ties of votes are settled as in predictions."""
    found = np.zeros((len(clips), len(FER7)))
    for row, clip in zip(found, clips, strict=True):
        result = aggregate(clip.probs, FER7)
        row[:] = result.probs
        row[FER7.index(result.emotion)] += 1e-6
    return found / found.sum(1, keepdims=True)


def _average(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        np.mean([outcome.train for outcome in outcomes], axis=0),
        np.mean([outcome.validation for outcome in outcomes], axis=0),
    )


def _loss(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood."""
    return float(-np.log(probs[np.arange(len(labels)), labels].clip(_MIN_PROB)).mean())


def _corrected(train: Sequence[PosteriorClip], validation: Sequence[PosteriorClip], *, seed: int) -> Outcome:
    labels = np.array([clip.label for clip in train])
    logits, fresh = (np.log([clip.probs.mean(0) for clip in clips]) for clips in (train, validation))
    held_out = np.zeros_like(logits)
    for rows, others in clip_folds(labels, groups=[clip.scene for clip in train], seed=seed):
        temperature, bias = fit_bias(logits[rows], labels[rows])
        held_out[others] = softmax(logits[others] / temperature + bias, axis=1)
    temperature, bias = fit_bias(logits, labels)
    found = {"temperature": temperature, "bias": dict(zip(FER7, bias.tolist(), strict=True))}
    return Outcome(held_out, softmax(fresh / temperature + bias, axis=1), found)


def _heads(
    kind: str, train: Sequence[PosteriorClip], validation: Sequence[PosteriorClip], *, seed: int
) -> Outcome:
    """The package's own heads on the face that is seen most; on validation the average of the folds' ones."""
    clips, fresh = ([to_sequence(clip) for clip in split] for split in (train, validation))
    labels, groups = np.array([clip.label for clip in clips]), [clip.subject for clip in clips]
    folds = clip_folds(labels, groups=groups, seed=seed)
    held_out = np.zeros((len(clips), len(FER7)))
    found = []
    for i, (rows, others) in enumerate(folds):
        config = _head_config(kind, seed=len(folds) * seed + i)
        head = train_head(config, [clips[i] for i in rows], make_fabric(config.run))
        held_out[others] = _predict(head, [clips[i] for i in others])
        found.append(_predict(head, fresh))
    settings = {"width": config.head.width, "epochs": config.optim.epochs}
    return Outcome(held_out, np.mean(found, axis=0), settings)


def _head_config(kind: str, *, seed: int) -> ClipConfig:
    return ClipConfig(
        head=HeadSpec(kind=kind, width=16, dropout=0.3),
        augmentation=SequenceAugmentation(mirror=False),
        optim=OptimConfig(
            epochs=20, batch_size=32, optimizer="adamw", lr=2e-3, weight_decay=0.05, ema_decay=0.98
        ),
        run=RunConfig(seed=seed, accelerator="cpu", precision="32-true"),
    )


@torch.inference_mode()
def _predict(head: TemporalHead, clips: Sequence[ClipSequence]) -> np.ndarray:
    """(N, 7), probabilities of the clips."""
    head.eval()
    found = []
    for clip in clips:
        evidence = clip.views[0]
        batch = ClipBatch.pad([evidence.embeddings], [evidence.log_probs], [clip.pts_seconds])
        out = head(batch.embeddings, batch.evidence, batch.seconds, batch.mask)
        found.append(out.clip_logits[0].exp().numpy())
    return np.stack(found)


def _measure(outcomes: Sequence[Outcome], train: np.ndarray, validation: np.ndarray) -> dict[str, Any]:
    """Return a method's means over seeds, the accuracy of each, and what each was set to."""
    preds = [outcome.validation.argmax(1) for outcome in outcomes]
    found = [
        classification_metrics(validation, pred, outcome.validation, FER7)
        for pred, outcome in zip(preds, outcomes, strict=True)
    ]
    right = np.mean([pred == validation for pred in preds], axis=0)
    per_seed = [one["accuracy"] for one in found]
    recalls = {name: [one["per_class_recall"][name] for one in found] for name in FER7}
    held_out = [(outcome.train.argmax(1) == train).mean() for outcome in outcomes]
    return {
        **{
            key: float(np.mean([one[key] for one in found])) for key in ("accuracy", "uar", "macro_f1", "ece")
        },
        "per_class_recall": {name: float(np.mean(values)) for name, values in recalls.items()},
        "per_seed": per_seed,
        "deviation": float(np.std(per_seed, ddof=1)),
        # Whom a clip shows is not told: the interval is over clips.
        "interval": accuracy_interval(right, [str(i) for i in range(len(right))]),
        "train_accuracy": float(np.mean(held_out)),
        "train_loss": float(np.mean([_loss(outcome.train, train) for outcome in outcomes])),
        "settings": [dict(outcome.settings) for outcome in outcomes],
    }


def _print_table(methods: dict[str, dict[str, Any]]) -> None:
    table = Table("method", "train", "validation", "95 % interval", "UAR", box=None)
    for name, found in methods.items():
        low, high = found["interval"]
        cells = [f"{100 * found[key]:.1f}" for key in ("train_accuracy", "accuracy")]
        table.add_row(name, *cells, f"{100 * low:.1f} - {100 * high:.1f}", f"{100 * found['uar']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
