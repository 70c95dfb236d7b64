"""RAVDESS emotions (8 classes) from 68 landmarks alone, on people never seen in training.

python benchmarks/ravdess_landmarks.py ../shared/data/ravdess_landmarks68 --protocol 6fold --seeds 3

Every model is measured twice: on single clips of strangers, and with a personal baseline, for which each
actor's features are centred and rescaled on that actor's own clips, labels unseen. Settings searched for are
searched for within the training actors of each fold. `--protocol inner` is where everything else was
decided: actors 5 to 24, the training actors of the first fold, held out four at a time; it writes no result.

The headline, the average of linear models, is the mean over seeds, too: of the randomised decomposition into
principal components. All else in them is fixed.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from results import write_result
from rich.console import Console
from rich.table import Table

from emotemporal.datasets.ravdess_landmarks import (
    EMOTIONS,
    FOLDS_OF_ACTORS,
    RavdessLandmarks,
    actor_folds,
    read_ravdess_landmarks,
)
from emotemporal.datasets.sequences import ClipSequence, add_geometry, collate
from emotemporal.datasets.splits import Fold
from emotemporal.models.baseline import centre_on_person
from emotemporal.models.pooled import AVERAGED, feature_blocks, pool_landmarks
from emotemporal.models.specs import HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.training.classical import POOLED_NAMES, PooledClassifier, PooledReduction
from emotemporal.training.clip import train_head
from emotemporal.training.config import ClipConfig, OptimConfig, RunConfig, SequenceAugmentation
from emotemporal.training.engine import make_fabric
from emotemporal.training.metrics import accuracy_interval, classification_metrics

# Model -> which features of a clip it sees, and the classifier.
_POOLED: dict[str, tuple[str, str]] = {
    **{name: ("all", name) for name in POOLED_NAMES},
    **AVERAGED,
}
_KINDS = ("bigru", "gru", "transformer")
# Temporal networks see one frame of each: what they see is averaged over as long.
_STEP_SECONDS = 0.25
_PROTOCOLS = {**FOLDS_OF_ACTORS, "inner": FOLDS_OF_ACTORS["6fold"][1:]}
_RESULTS = {
    ("6fold", False): "ravdess_landmarks_6fold",
    ("6fold", True): "ravdess_landmarks_6fold_baseline",
    ("5fold", False): "ravdess_landmarks_5fold",
    ("5fold", True): "ravdess_landmarks_5fold_baseline",
}

Probs = dict[tuple[str, int], np.ndarray]
"""(model, seed) -> (N, C); rows of clips in no fold are 0."""


@dataclass(frozen=True, eq=False)
class Clips:
    """What the models see of all clips."""

    pooled: np.ndarray
    """float64 (2, N, D), as they are and mirrored."""
    sequences: Sequence[ClipSequence]
    labels: np.ndarray
    actors: np.ndarray
    intensity: np.ndarray


def describe(landmarks: RavdessLandmarks) -> Clips:
    """Compute the features of every clip and its mirror image."""
    pooled, sequences = [], []
    for i in range(len(landmarks)):
        points, seconds = landmarks.clip(i)
        pooled.append(pool_landmarks(points, seconds))
        clip = add_geometry(
            ClipSequence(
                clip_id=str(i),
                label=int(landmarks.labels[i]),
                subject=str(landmarks.actors[i]),
                pts_seconds=seconds,
                views=(),
                landmarks68=points,
            )
        )
        step = ((seconds - seconds[0]) / _STEP_SECONDS).astype(int)
        last = np.flatnonzero(np.diff(step, append=step[-1] + 1))
        sequences.append(
            replace(
                clip,
                pts_seconds=seconds[last],
                geometry=tuple(view[last] for view in clip.geometry),
                landmarks68=None,
            )
        )
    return Clips(
        np.swapaxes(pooled, 0, 1), sequences, landmarks.labels, landmarks.actors, landmarks.intensity
    )


def centre_sequences(clips: Sequence[ClipSequence]) -> list[ClipSequence]:
    """Bring each person's geometry to that person's own mean and spread, labels unseen."""
    lengths = [len(clip) for clip in clips]
    people = np.repeat([clip.subject for clip in clips], lengths)
    views = []
    for view in (0, 1):
        rows = np.concatenate([clip.geometry[view] for clip in clips])
        centred = centre_on_person(rows, people, rescale=True).astype(np.float32)
        views.append(np.split(centred, np.cumsum(lengths)[:-1]))
    return [replace(clip, geometry=pair) for clip, pair in zip(clips, zip(*views, strict=True), strict=True)]


def head_config(kind: str, seed: int) -> ClipConfig:
    """Return how a temporal network is trained; frames are no targets of their own here."""
    return ClipConfig(
        frame_weight=0.0,
        correction_weight=0.0,
        head=HeadSpec(kind=kind, streams="geometry", dropout=0.5),
        augmentation=SequenceAugmentation(min_share=0.75, max_stride=1, frame_dropout=0.0, max_stretch=0.25),
        optim=OptimConfig(
            epochs=14,
            batch_size=64,
            optimizer="adamw",
            lr=3e-3,
            warmup_fraction=0.2,
            weight_decay=0.05,
            ema_decay=0.9,
            gradient_clip=1.0,
        ),
        run=RunConfig(seed=seed, accelerator="cpu", precision="32-true"),
    )


@torch.inference_mode()
def predict_sequences(head: TemporalHead, clips: Sequence[ClipSequence]) -> np.ndarray:
    """Return the probabilities of clips, averaged with their mirror images, float32 (N, C)."""
    head.eval()
    found = []
    for view in (0, 1):
        batch = collate([(clip, view, np.arange(len(clip))) for clip in clips])
        out = head(batch.embeddings, batch.evidence, batch.seconds, batch.mask, batch.geometry)
        found.append(out.clip_logits.exp())
    return torch.stack(found).mean(0).numpy()


def predict(clips: Clips, folds: Sequence[Fold], *, personal: bool, num_seeds: int) -> Probs:
    """Let every model predict the actors held out, the temporal networks only if there is a seed."""
    blocks = feature_blocks(clips.pooled)
    if personal:
        blocks = {
            name: np.stack([centre_on_person(view, clips.actors, rescale=True) for view in views])
            for name, views in blocks.items()
        }
    sequences = centre_sequences(clips.sequences) if personal else clips.sequences
    found: Probs = {}

    def keep(model: str, seed: int, rows: np.ndarray, probs: np.ndarray) -> None:
        found.setdefault((model, seed), np.zeros((len(clips.labels), len(EMOTIONS))))[rows] = probs

    for fold in folds:
        started = time.perf_counter()
        for seed in range(max(num_seeds, 1)):
            for model, probs in predict_pooled(blocks, clips, fold, seed=seed).items():
                keep(model, seed, fold.test, probs)
        for seed, kind in itertools.product(range(num_seeds), _KINDS):
            config = head_config(kind, seed)
            train = [sequences[i] for i in fold.train]
            head = train_head(config, train, make_fabric(config.run), num_classes=len(EMOTIONS))
            keep(kind, seed, fold.test, predict_sequences(head, [sequences[i] for i in fold.test]))
        print(f"{fold.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    for seed in range(max(num_seeds, 1)):
        found["average", seed] = np.mean([found[name, seed] for name in AVERAGED], axis=0)
    return found


def predict_pooled(
    blocks: Mapping[str, np.ndarray], clips: Clips, fold: Fold, *, seed: int
) -> dict[str, np.ndarray]:
    """Return what classifiers of pooled statistics say of the clips held out, float64 (M, C) each."""
    labels, actors = clips.labels[fold.train], clips.actors[fold.train]
    reduced, probs = {}, {}
    for name, views in blocks.items():
        reduce = PooledReduction(views[:, fold.train], seed=seed)
        reduced[name] = reduce(views[:, fold.train]), reduce(views[:, fold.test])
    for model, (block, name) in _POOLED.items():
        train, test = reduced[block]
        classifier = PooledClassifier(name, seed=seed).fit(train, labels, actors)
        probs[model] = classifier.predict_probs(test)
        print(f"{fold.name} {model} {classifier.settings} {classifier.inner_accuracy}", file=sys.stderr)
    train, test = reduced["all"]
    by_sex = probs["discriminant, by sex"] = np.zeros((len(fold.test), len(EMOTIONS)))
    for sex in (0, 1):
        same, tested = actors % 2 == sex, clips.actors[fold.test] % 2 == sex
        classifier = PooledClassifier("discriminant").fit(train[:, same], labels[same], actors[same])
        by_sex[tested] = classifier.predict_probs(test[:, tested])
    return probs


def summarise(probs: Probs, clips: Clips, folds: Sequence[Fold]) -> dict[str, dict]:
    """Measure each model: means over seeds, spread over folds, interval over people."""
    tested = np.concatenate([fold.test for fold in folds])
    rows = {}
    for model in dict.fromkeys(name for name, _ in probs):
        runs = [found for (name, _), found in probs.items() if name == model]
        correct = np.mean([found.argmax(1) == clips.labels for found in runs], axis=0)
        per_fold = [float(correct[fold.test].mean()) for fold in folds]
        per_seed = [float((run.argmax(1) == clips.labels)[tested].mean()) for run in runs]
        rows[model] = {
            "accuracy": float(correct[tested].mean()),
            "per_seed": per_seed,
            "deviation": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
            "per_fold": per_fold,
            "fold_mean": float(np.mean(per_fold)),
            "fold_std": float(np.std(per_fold, ddof=1)),
            "interval": accuracy_interval(correct[tested], [str(a) for a in clips.actors[tested]]),
        }
    return rows


def print_table(title: str, rows: dict[str, dict]) -> None:
    table = Table("model", "accuracy", "95 % over actors", "mean of folds", "seeds", title=title)
    for model, row in rows.items():
        table.add_row(
            model,
            f"{100 * row['accuracy']:.1f} %",
            "{:.1f} - {:.1f}".format(*(100 * end for end in row["interval"])),
            f"{100 * row['fold_mean']:.1f} +- {100 * row['fold_std']:.1f}",
            str(len(row["per_seed"])),
        )
    Console(width=100).print(table)


def details_of(
    protocol: str, probs: Probs, rows: dict[str, dict], clips: Clips, folds: Sequence[Fold]
) -> dict:
    """Return what is written beside the headline: the average of models, first seed in detail."""
    tested = np.concatenate([fold.test for fold in folds])
    first = probs["average", 0][tested]
    measured = classification_metrics(clips.labels[tested], first.argmax(1), first, EMOTIONS)
    correct = first.argmax(1) == clips.labels[tested]
    strong = clips.intensity[tested] == 2
    return {
        "protocol": protocol,
        "folds": [fold.name for fold in folds],
        "averaged": list(AVERAGED),
        "randomness": "seed of the randomised principal components; the linear models are deterministic",
        "per_seed": rows["average"]["per_seed"],
        "deviation": rows["average"]["deviation"],
        "first_seed": measured,
        "accuracy_normal_intensity": float(correct[~strong].mean()),
        "accuracy_strong_intensity": float(correct[strong].mean()),
        "first_fold": rows["average"]["per_fold"][0],
        "models": rows,
    }


def measure(clips: Clips, protocol: str, *, personal: bool, num_seeds: int) -> None:
    """Print the table of one protocol and setting, and write its headline."""
    folds = actor_folds(_PROTOCOLS[protocol], clips.actors)
    probs = predict(clips, folds, personal=personal, num_seeds=num_seeds)
    rows = summarise(probs, clips, folds)
    print_table(f"{protocol}, {'with' if personal else 'without'} a personal baseline", rows)
    if name := _RESULTS.get((protocol, personal)):
        headline = rows["average"]
        num_seeds = len(headline["per_seed"])
        unit = f"share of {len(clips.labels)} clips, average of models, mean over {num_seeds} seeds"
        details = details_of(protocol, probs, rows, clips, folds)
        write_result(name, headline["accuracy"], unit=unit, interval=headline["interval"], details=details)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds Actor_XX_landmarks.csv.xz")
    parser.add_argument("--protocol", choices=list(_PROTOCOLS), help="one alone; default 6fold and 5fold")
    parser.add_argument(
        "--seeds", type=int, default=3, help="default 3; 0 is seed 0 alone, without the temporal networks"
    )
    parser.add_argument("--cache", type=Path, help="folder to keep the parsed tables in")
    settings = parser.parse_args(argv)
    torch.set_num_threads(1)
    clips = describe(read_ravdess_landmarks(settings.folder, cache=settings.cache))
    for protocol in [settings.protocol] if settings.protocol else FOLDS_OF_ACTORS:
        for personal in (False, True):
            measure(clips, protocol, personal=personal, num_seeds=settings.seeds)


if __name__ == "__main__":
    main()
