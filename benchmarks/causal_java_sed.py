"""What live labels lose beside offline ones, on Java-SED with one actor held out at a time.

python benchmarks/causal_java_sed.py runs/java_sed_store

The crops come from `tools/extract_faces.py ../shared/data/java_sed --output runs/java_sed_store`. Of clips:
what the one-way head says when a clip ends, and before, against the offline head that sees all of it. Of
frames: labels of excerpts spliced at known times (as in `spliced.py`), smoothed from the past alone and from
both sides.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from results import ROOT, write_result
from spliced import Labelled, measure, simulation, train_heads

from emotemporal.checkpoint import load_checkpoint
from emotemporal.cli.common import parse_settings
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.sequences import ClipSequence, load_sequences
from emotemporal.datasets.splices import splice_clips
from emotemporal.labelling.smoothing import (
    CAUSAL_EVIDENCE_SECONDS,
    EVIDENCE_SECONDS,
    HEAD_EVIDENCE_SECONDS,
    CausalSmoother,
    smooth_probs,
)
from emotemporal.models.classifier import EmotionClassifier, FrameEvidence
from emotemporal.models.streaming import PersonStream
from emotemporal.models.torch_runners import TorchHead
from emotemporal.networks import build_classifier
from emotemporal.training.config import ClipConfig
from emotemporal.training.metrics import accuracy_interval

_AFTER_SECONDS = (0.5, 1.0, 2.0, 3.0)
_SEQUENCES_PER_ACTOR = 12
Classifiers = dict[str, EmotionClassifier]
"""Actor -> networks that have not seen them."""


def main(store: str) -> None:
    torch.set_num_threads(1)
    offline_config, causal_config = (
        parse_settings(
            "train-clip", ClipConfig, "", ["--config", str(ROOT / "configs" / name), "--store", store]
        )
        for name in ("clip_java_sed.yaml", "clip_java_sed_causal.yaml")
    )
    frame = build_classifier(load_checkpoint(ROOT / causal_config.frame_checkpoint))
    clips = load_sequences(CropStore.open(store), frame)
    # Both are set by the same clips of still faces.
    simulate = simulation(offline_config, frame)
    offline, causal = (
        {
            subject: frame.with_head(TorchHead(head))
            for subject, head in train_heads(clips, simulate, config).items()
        }
        for config in (offline_config, causal_config)
    )
    report_clips(clips, offline, causal, offline_config.head.kind)
    report_frames(clips, offline, causal)


def stream(classifier: EmotionClassifier, evidence: FrameEvidence, pts_seconds: np.ndarray) -> np.ndarray:
    """Return frame and clip probabilities after each frame, float32 (L, 2, C)."""
    person = PersonStream(classifier.head)
    rows = zip(evidence.embeddings, evidence.log_probs, pts_seconds.tolist(), strict=True)
    return np.stack([np.stack(person.step(*row)) for row in rows])


def report_clips(
    clips: Sequence[ClipSequence], offline: Classifiers, causal: Classifiers, offline_kind: str
) -> None:
    """Compare what is said of whole clips; one without a face counts as an error."""
    right: dict[str, list[bool]] = {}

    def note(name: str, clip: ClipSequence, probs: np.ndarray | None) -> None:
        right.setdefault(name, []).append(probs is not None and int(probs.argmax()) == clip.label)

    for clip in clips:
        live, whole = None, None
        if len(clip):
            live = stream(causal[clip.subject], clip.views[0], clip.pts_seconds)[:, 1]
            _, whole = offline[clip.subject].classify_sequence(clip.views[0], clip.pts_seconds)
        note("causal, at the end", clip, None if live is None else live[-1])
        note(f"offline {offline_kind}", clip, whole)
        note("sum of frames", clip, np.exp(clip.views[0].log_probs).sum(0) if len(clip) else None)
        for seconds in _AFTER_SECONDS:
            last = np.searchsorted(clip.pts_seconds - clip.pts_seconds[0], seconds + 1e-6) - 1
            note(f"causal, after {seconds:g} s", clip, None if live is None else live[last])
    subjects = [clip.subject for clip in clips]
    chosen_on = np.isin(subjects, sorted(set(subjects))[: len(set(subjects)) // 2])
    found = {}
    for name, values in right.items():
        hits = np.array(values)
        found[name] = {
            "accuracy": float(hits.mean()),
            "interval": accuracy_interval(hits, subjects),
            "accuracy_actors_1_to_5": float(hits[chosen_on].mean()),
            "accuracy_actors_6_to_10": float(hits[~chosen_on].mean()),
        }
        print(f"{name:<24} {found[name]['accuracy']:.3f} {found[name]['interval']}")
    both = np.array(right["causal, at the end"]).astype(int) - np.array(right[f"offline {offline_kind}"])
    found["causal less offline"] = {
        "only causal": int((both > 0).sum()),
        "only offline": int((both < 0).sum()),
    }
    write_result(
        "causal_java_sed_head",
        found["causal, at the end"]["accuracy"],
        unit=f"share of {len(clips)} clips",
        interval=found["causal, at the end"]["interval"],
        details=found,
    )


def report_frames(clips: Sequence[ClipSequence], offline: Classifiers, causal: Classifiers) -> None:
    """Compare frame labels where the truth changes at known times."""
    sequences: list[Labelled] = []
    for seed, subject in enumerate(causal):
        own = [clip for clip in clips if clip.subject == subject]
        for spliced in splice_clips(own, num_sequences=_SEQUENCES_PER_ACTOR, seed=seed):
            evidence, pts = spliced.evidence, spliced.pts_seconds
            live = stream(causal[subject], evidence, pts)
            probs = {
                "network": np.exp(evidence.log_probs),
                "offline head": offline[subject].classify_sequence(evidence, pts)[0],
                "causal head": live[:, 0],
                "causal head, so far": live[:, 1],
            }
            sequences.append(Labelled(subject, pts, spliced.labels, probs))
    people = list(causal)
    halves = {"chosen on": people[: len(people) // 2], "measured on": people[len(people) // 2 :]}
    found = {half: compare([s for s in sequences if s.subject in chosen]) for half, chosen in halves.items()}
    live = found["measured on"]["network, causal hmm"]
    write_result("causal_spliced_frames", live["frame_accuracy"], unit="share of frames", details=found)


def compare(sequences: Sequence[Labelled]) -> dict[str, dict[str, Any]]:
    """Measure each source with the smoothing that could be had at its time."""
    methods: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
        "network": ("network", lambda probs, pts: probs),
        "network, offline hmm": ("network", smooth_probs),
        "network, causal hmm": ("network", smooth_causal),
        "network, causal hmm, evidence as offline": (
            "network",
            partial(smooth_causal, evidence_seconds=EVIDENCE_SECONDS),
        ),
        "offline head, offline hmm": (
            "offline head",
            partial(smooth_probs, evidence_seconds=HEAD_EVIDENCE_SECONDS),
        ),
        "causal head, causal hmm": ("causal head", smooth_causal),
        "causal head, causal hmm, evidence as offline": (
            "causal head",
            partial(smooth_causal, evidence_seconds=HEAD_EVIDENCE_SECONDS),
        ),
        "causal head, so far": ("causal head, so far", lambda probs, pts: probs),
    }
    found = {}
    for name, (source, smooth) in methods.items():
        labels = [smooth(s.probs[source], s.pts_seconds).argmax(1) for s in sequences]
        found[name] = measure(sequences, labels)
        values = found[name]
        print(
            f"{name:<44} {values['frame_accuracy']:.3f}, {values['flips_per_second']:.2f} changes/s, "
            f"F1 {values['segment_f1']:.3f}, median delay {values['median_signed_delay_seconds']:.2f} s"
        )
    return found


def smooth_causal(
    probs: np.ndarray, pts_seconds: np.ndarray, *, evidence_seconds: float = CAUSAL_EVIDENCE_SECONDS
) -> np.ndarray:
    smoother = CausalSmoother(evidence_seconds=evidence_seconds)
    return np.stack([smoother.step(row, t) for row, t in zip(probs, pts_seconds.tolist(), strict=True)])


if __name__ == "__main__":
    main(*sys.argv[1:])
