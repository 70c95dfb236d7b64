"""Frame labels against a known truth: excerpts of one held-out actor's clips, spliced at known times.

python benchmarks/spliced.py runs/java_sed_store

The crops come from `tools/extract_faces.py ../shared/data/java_sed --output runs/java_sed_store`. The head
that labels an actor was trained on the others. Smoothing was chosen on the first half of the actors, on
shorter and longer excerpts too, and is measured on the second.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import ROOT, write_result
from rich.console import Console
from rich.table import Table

from emotemporal.checkpoint import file_sha256, load_checkpoint
from emotemporal.cli.common import parse_settings
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.sequences import ClipSequence, load_sequences
from emotemporal.datasets.splices import splice_clips
from emotemporal.datasets.splits import subject_folds
from emotemporal.files import replacing
from emotemporal.labelling.segments import (
    ChangeDelays,
    change_delays,
    flips_per_second,
    match_segments,
    to_segments,
)
from emotemporal.labelling.smoothing import EVIDENCE_SECONDS, HEAD_EVIDENCE_SECONDS, smooth_probs
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.temporal import TemporalHead
from emotemporal.models.torch_runners import TorchHead
from emotemporal.networks import build_classifier
from emotemporal.training.clip import fit_head_temperature, load_simulated
from emotemporal.training.config import ClipConfig, RunConfig
from emotemporal.training.engine import make_fabric, settings_of
from emotemporal.training.evaluation import ClipPrediction, predict_clips
from emotemporal.training.heads import train_head

# Heads are kept here, so that another look at the smoothing need not train them again.
_HEADS = ROOT / "runs" / "spliced_heads"
_SEQUENCES_PER_ACTOR = 12
_TAUS_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
_DWELLS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_EVIDENCES_SECONDS = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3)
_EXCERPTS_SECONDS = (2.0, 4.0)
_OTHER_EXCERPTS_SECONDS = ((1.0, 2.0), (4.0, 8.0))
Smoother = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Labelled:
    """One spliced sequence with what the networks say of it."""

    subject: str
    pts_seconds: np.ndarray
    truth: np.ndarray
    """int64 (L,)."""
    probs: dict[str, np.ndarray]
    """Of `frames`, by the frame network, and of `head`, float32 (L, C)."""


def main(store: str) -> None:
    torch.set_num_threads(1)
    arguments = ["--config", str(ROOT / "configs" / "clip_java_sed.yaml"), "--store", store]
    config = parse_settings("train-clip", ClipConfig, "", arguments)
    classifier = build_classifier(load_checkpoint(ROOT / config.frame_checkpoint))
    clips = load_sequences(CropStore.open(store), classifier)
    people = sorted({clip.subject for clip in clips})
    chosen_on = people[: len(people) // 2]
    heads = train_heads(clips, simulation(config, classifier), config)
    of_chosen = {subject: heads[subject] for subject in chosen_on}
    temperature = fit_temperature(clips, classifier, of_chosen)
    label = partial(label_splices, clips, classifier, temperature=temperature)
    sequences = label(heads, *_EXCERPTS_SECONDS)
    parts = {
        "chosen on": [s for s in sequences if s.subject in chosen_on],
        "measured on": [s for s in sequences if s.subject not in chosen_on],
    }
    for low, high in _OTHER_EXCERPTS_SECONDS:
        name = f"chosen on, excerpts of {low:g} to {high:g} s"
        parts[name] = label(of_chosen, low, high)
    found = {name: compare(part) for name, part in parts.items()}
    for name, part in parts.items():
        _print_table(f"{name}, actors {part[0].subject} to {part[-1].subject}", found[name])
    raw, default = (found["measured on"][name] for name in ("frames", "frames, default"))
    write_result(
        "spliced_flips_ratio",
        raw["flips_per_second"] / default["flips_per_second"],
        unit="label changes per second of raw frames / of smoothed labels",
        details={"num_sequences": len(parts["measured on"]), "methods": found},
    )


def simulation(config: ClipConfig, classifier: EmotionClassifier) -> Callable[[], Sequence[ClipSequence]]:
    """Return what makes the clips of still faces, once: it takes minutes, and only a training needs them."""
    return cache(partial(load_simulated, config, classifier, lambda line: print(line, file=sys.stderr)))


def train_heads(
    clips: Sequence[ClipSequence], simulate: Callable[[], Sequence[ClipSequence]], config: ClipConfig
) -> dict[str, TemporalHead]:
    """Return for each person a head that has not seen them; those that are kept are not trained again."""
    settings = settings_of(replace(config, run=RunConfig(seed=config.run.seed, accelerator="cpu")))
    settings |= {"store": file_sha256(Path(config.store) / "index.csv")}
    settings |= {"frame_checkpoint": file_sha256(ROOT / config.frame_checkpoint)}
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    fabric = make_fabric(replace(config.run, accelerator="cpu"))
    heads = {}
    for fold in subject_folds([clip.subject for clip in clips]):
        kept = _HEADS / f"{fold.name}-{key}.pt"
        if not kept.is_file():
            head = train_head(config, [clips[i] for i in fold.train], fabric, simulated=simulate())
            _HEADS.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as temporary:
                torch.save(head.state_dict(), temporary)
            print(f"head without {fold.name} is trained", file=sys.stderr, flush=True)
        heads[fold.name] = _load_head(kept, clips[fold.train[0]], config)
    return heads


def _load_head(path: Path, clip: ClipSequence, config: ClipConfig) -> TemporalHead:
    state = torch.load(path, weights_only=True)
    head = TemporalHead(
        config.head,
        embedding_dim=clip.views[0].embeddings.shape[1],
        num_classes=clip.views[0].log_probs.shape[1],
        trained_classes=state["trained"].nonzero().flatten().tolist(),
    )
    head.load_state_dict(state)
    return head


def fit_temperature(
    clips: Sequence[ClipSequence], classifier: EmotionClassifier, heads: dict[str, TemporalHead]
) -> float:
    """Return the temperature that suits the heads of these people on whole clips of theirs."""
    predictions: list[ClipPrediction] = []
    for subject, head in heads.items():
        ready = classifier.with_head(TorchHead(head))
        predictions += predict_clips(ready, [c for c in clips if c.subject == subject])
    return fit_head_temperature(predictions, sorted({clip.label for clip in clips}))


def label_splices(
    clips: Sequence[ClipSequence],
    classifier: EmotionClassifier,
    heads: dict[str, TemporalHead],
    min_seconds: float,
    max_seconds: float,
    *,
    temperature: float,
) -> list[Labelled]:
    """Splice the clips of each person who has a head, and run the networks."""
    labelled = []
    for seed, (subject, head) in enumerate(heads.items()):
        ready = classifier.with_head(TorchHead(head, temperature=temperature))
        own = [clip for clip in clips if clip.subject == subject]
        for sequence in splice_clips(
            own,
            num_sequences=_SEQUENCES_PER_ACTOR,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            seed=seed,
        ):
            frames = np.exp(sequence.evidence.log_probs)
            temporal, _ = ready.classify_sequence(sequence.evidence, sequence.pts_seconds)
            probs = {"frames": frames, "head": temporal}
            labelled.append(Labelled(subject, sequence.pts_seconds, sequence.labels, probs))
    return labelled


def smoothers(evidence_seconds: float) -> dict[str, Smoother]:
    """Return every smoothing that is compared; `default` is that of predictions."""
    found: dict[str, Smoother] = {"": partial(smooth_probs, method="none")}
    for tau in _TAUS_SECONDS:
        found[f", ema {tau:g} s"] = partial(smooth_probs, method="ema", tau_seconds=tau)
    for dwell in _DWELLS_SECONDS:
        found[f", hmm {dwell:g} s"] = partial(
            smooth_probs, dwell_seconds=dwell, evidence_seconds=evidence_seconds
        )
    for evidence in _EVIDENCES_SECONDS:
        found[f", hmm 2 s, evidence {evidence:g} s"] = partial(smooth_probs, evidence_seconds=evidence)
    found[", default"] = partial(smooth_probs, evidence_seconds=evidence_seconds)
    return found


def compare(sequences: Sequence[Labelled]) -> dict[str, dict[str, Any]]:
    """Measure every smoothing of both sources, and labels moved in time as what chance gives."""
    found = {}
    for source, evidence_seconds in (("frames", EVIDENCE_SECONDS), ("head", HEAD_EVIDENCE_SECONDS)):
        for name, smooth in smoothers(evidence_seconds).items():
            labels = [smooth(s.probs[source], s.pts_seconds).argmax(1) for s in sequences]
            found[source + name] = measure(sequences, labels)
    rng = np.random.default_rng(0)
    labels = [smooth_probs(s.probs["frames"], s.pts_seconds).argmax(1) for s in sequences]
    moved = [np.roll(row, int(rng.integers(len(row)))) for row in labels]
    found["chance: default, moved in time"] = measure(sequences, moved)
    return found


def measure(sequences: Sequence[Labelled], labels: Sequence[np.ndarray]) -> dict[str, Any]:
    """Compare labels with the truth, all frames, segments and changes counting once."""
    hits, frames, matched, segments = 0, 0, 0, 0
    flips, delays, correct, changes = [], [], [], 0
    for sequence, pred in zip(sequences, labels, strict=True):
        pts = sequence.pts_seconds
        hits += np.count_nonzero(pred == sequence.truth)
        frames += len(pred)
        true_segments, pred_segments = to_segments(sequence.truth, pts), to_segments(pred, pts)
        matched += match_segments(true_segments, pred_segments)
        segments += len(true_segments) + len(pred_segments)
        flips.append(flips_per_second(pred, pts))
        change = change_delays(sequence.truth, pred, pts)
        changes += change.num_changes
        delays.append(change.delays_seconds)
        correct.append(change.correct)
    pooled = ChangeDelays(changes, np.concatenate(delays), np.concatenate(correct))
    right = np.abs(pooled.delays_seconds[pooled.correct])
    return {
        "frame_accuracy": hits / frames,
        "flips_per_second": float(np.mean(flips)),
        "segment_f1": 2 * matched / segments,
        "changes_detected": pooled.detected_share,
        "median_delay_seconds": pooled.median_seconds,
        "median_signed_delay_seconds": float(np.median(pooled.delays_seconds)),
        "changes_correct": len(right) / changes,
        "delay_of_correct_seconds": float(np.median(right)) if len(right) else None,
    }


def _print_table(title: str, methods: dict[str, dict[str, Any]]) -> None:
    columns = ("frame acc.", "flips/s", "seg. F1", "detected", "delay", "correct", "delay")
    table = Table("labels", *columns, title=title, box=None)
    for name, found in methods.items():
        table.add_row(
            name,
            f"{100 * found['frame_accuracy']:.1f}",
            f"{found['flips_per_second']:.2f}",
            f"{found['segment_f1']:.3f}",
            f"{100 * found['changes_detected']:.0f} %",
            f"{found['median_delay_seconds']:.2f} s",
            f"{100 * found['changes_correct']:.0f} %",
            "-"
            if found["delay_of_correct_seconds"] is None
            else f"{found['delay_of_correct_seconds']:.2f} s",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
