"""A clip classifier with scikit-learn's interface: fit on labelled videos, predict, save, cross-validate."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from emotemporal.checkpoint import default_frame_checkpoint, load_checkpoint, save_checkpoint
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.evidence import clip_evidence
from emotemporal.datasets.sequences import ClipSequence
from emotemporal.datasets.splits import split_clips
from emotemporal.errors import DataError, UsageError, VideoError
from emotemporal.extraction import extract_faces
from emotemporal.faces.detector import MtcnnDetector
from emotemporal.labelling.aggregation import AGGREGATIONS
from emotemporal.labels import canonical_emotion, counts_as
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.specs import HeadSpec
from emotemporal.models.torch_runners import TorchHead
from emotemporal.networks import build_classifier
from emotemporal.runtime import choose_backend, choose_device
from emotemporal.structures import CropGeometry
from emotemporal.training.clip import calibrate_folds, clip_checkpoint, cross_validate, fit_head_temperature
from emotemporal.training.config import ClipConfig, RunConfig
from emotemporal.training.engine import make_fabric
from emotemporal.training.evaluation import clip_report, predict_clips
from emotemporal.training.heads import train_head, trained_labels
from emotemporal.versions import versions

NO_FACE = "no_face"
"""What a clip without a face is called: in every accuracy it counts as an error."""

# Of the shipped head's training.
_STEPS_PER_EPOCH = 7


class ClipClassifier(ClassifierMixin, BaseEstimator):
    """A temporal head on a frame network, trained on labelled videos.

        classifier = ClipClassifier(store="crops").fit(paths, emotions, groups=people)
        print(classifier.cv_results_["head"]["accuracy"])  # of people held out
        classifier.predict(others)
        classifier.save("own.safetensors")  # emotemporal predict-clip --checkpoint own.safetensors

    It follows scikit-learn's conventions, so that this measures it on people whom no fold has learnt:

        cross_val_predict(classifier, paths, emotions, groups=people, cv=GroupKFold(5))

    Each video is told by its most prominent person. Labels keep the spelling in which they are given, and
    must be emotions that the frame network knows. Predictions are among the emotions that were fitted; the
    saved checkpoint tells all that the frame network knows.

    Args:
        checkpoint: of a frame network; None for the shipped one.
        head: kind of the head.
        width: features inside it.
        dropout: in its training.
        epochs: of its training.
        seed: of its training.
        num_folds: parts into which `groups` are held out for `cv_results_`; None holds out each by itself.
        store: folder that keeps the face crops, so that no video is looked at twice; None keeps nothing.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that look for faces.

    Attributes:
        classes_: the labels, sorted.
        cv_results_: by aggregation what `training.evaluation.clip_report` measures on groups held out;
            only where `fit` was given groups.
        classifier_: the networks.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        head: Literal["bigru", "gru", "transformer"] = "bigru",
        width: int = 32,
        dropout: float = 0.6,
        epochs: int = 30,
        seed: int = 0,
        num_folds: int | None = None,
        store: str | Path | None = None,
        device: str = "auto",
        workers: int = 1,
    ) -> None:
        self.checkpoint = checkpoint
        self.head = head
        self.width = width
        self.dropout = dropout
        self.epochs = epochs
        self.seed = seed
        self.num_folds = num_folds
        self.store = store
        self.device = device
        self.workers = workers

    def fit(
        self, paths: Sequence[str | Path], labels: Sequence[str], groups: Sequence[Any] | None = None
    ) -> ClipClassifier:
        """Train a head on videos.

            classifier.fit(["a.mp4", "b.mp4"], ["happy", "sad"])

        Args:
            paths: N videos.
            labels: N emotions, of at least two kinds.
            groups: whom each shows. With them heads are trained without one group after the other, and
                measured on it; confidence is calibrated by that, else it is too high with new people.
        Raises:
            UsageError: paths, labels and groups differ in number, or there is only one emotion.
            DataError: the frame network knows no such emotion, no video shows a face, or there is one group.
            VideoError: a video cannot be read.
        """
        _require_same_length(paths, labels, groups)
        frame = load_checkpoint(self.checkpoint or default_frame_checkpoint(), kind="frame")
        device = choose_device(self.device)
        classifier = build_classifier(frame, device=device)
        classes, positions = _places(labels, classifier.labels)
        config = self._config(device, len(paths), has_groups=groups is not None)
        fabric = make_fabric(config.run)
        people = [""] * len(paths) if groups is None else [str(group) for group in groups]
        items = [
            ClipItem(Path(path), clip_id_of(path), classifier.labels[positions[str(label)]], person)
            for path, label, person in zip(paths, labels, people, strict=True)
        ]
        clips = self._see(classifier, frame.header.geometry, items)
        if not any(len(clip) for clip in clips):
            raise DataError(f"none of the {len(clips)} videos shows a face")
        temperature, report = 1.0, {}
        if groups is not None:
            folds = split_clips(config.protocol, clips, num_folds=config.num_folds)
            found = cross_validate(config, clips, folds, classifier, fabric)
            trained = trained_labels(clips)
            temperature = fit_head_temperature([p for fold in found for p in fold], trained)
            report = clip_report(calibrate_folds(found, trained), classifier.labels, AGGREGATIONS)
            self.cv_results_ = report["aggregations"]
        elif hasattr(self, "cv_results_"):
            del self.cv_results_  # of an earlier fit
        head = train_head(config, clips, fabric)
        header, self._tensors = clip_checkpoint(
            config, frame, classifier.labels, clips, [], head, temperature, report
        )
        self._header = header
        self.classes_ = np.array(classes)
        self._positions = [positions[name] for name in classes]
        self.classifier_ = classifier.with_head(TorchHead(head, device=device, temperature=temperature))
        return self

    def predict(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Return the most probable of `classes_` for each video, `no_face` for one without a face.

            classifier.predict(["c.mp4"])  # array(['happy'])

        Raises:
            NotFittedError: nothing was fitted.
            VideoError: a video cannot be read.
        """
        probs = self.predict_proba(paths)
        known = ~np.isnan(probs).any(axis=1)
        # Room for the longest name, which NumPy would cut off.
        found = np.full(len(probs), NO_FACE, dtype=np.result_type(self.classes_, np.array(NO_FACE)))
        found[known] = self.classes_[probs[known].argmax(axis=1)]
        return found

    def predict_proba(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Return probabilities of `classes_`, float64 (N, K), rows sum to 1; NaN for a video without a face.

            classifier.predict_proba(["c.mp4"])  # array([[0.81, 0.19]])

        Raises:
            NotFittedError: nothing was fitted.
            VideoError: a video cannot be read.
        """
        check_is_fitted(self, "classifier_")
        items = [ClipItem(Path(path), clip_id_of(path), "") for path in paths]
        clips = self._see(self.classifier_, self._header.geometry, items)
        probs = np.full((len(clips), len(self.classes_)), np.nan)
        for row, prediction in zip(probs, predict_clips(self.classifier_, clips), strict=True):
            if "head" in prediction.probs:
                among = prediction.probs["head"][self._positions].astype(np.float64)
                row[:] = among / among.sum()
        return probs

    def save(self, path: str | Path) -> None:
        """Write a clip checkpoint, frame network included, as `predict-clip --checkpoint` takes it.

            classifier.save("own.safetensors")
            EmotionPipeline.load("own.safetensors").analyze("c.mp4")

        Raises:
            NotFittedError: nothing was fitted.
            OutputError: it cannot be written.
        """
        check_is_fitted(self, "classifier_")
        path = Path(path)
        save_checkpoint(path, replace(self._header, name=path.stem), self._tensors)

    def _config(self, device: str, num_clips: int, *, has_groups: bool) -> ClipConfig:
        protocol: Literal["none", "leave-one-subject-out", "subject-folds"] = "none"
        if has_groups:
            protocol = "leave-one-subject-out" if self.num_folds is None else "subject-folds"
        plain = ClipConfig()
        # Few clips are learnt in as many steps an epoch as many are.
        batch_size = int(np.clip(num_clips // _STEPS_PER_EPOCH, 2, plain.optim.batch_size))
        return replace(
            plain,
            protocol=protocol,
            num_folds=self.num_folds or plain.num_folds,
            head=HeadSpec(kind=self.head, width=self.width, dropout=self.dropout),
            optim=replace(plain.optim, epochs=self.epochs, batch_size=batch_size),
            run=RunConfig(
                folder=Path("clip_classifier"),
                seed=self.seed,
                accelerator="cuda" if device == "cuda" else "cpu",
                precision="32-true",
            ),
        )

    def _see(
        self, classifier: EmotionClassifier, geometry: CropGeometry, items: Sequence[ClipItem]
    ) -> list[ClipSequence]:
        """Return videos as the frame network sees their most prominent person, an unknown label as 0."""
        wanted = {item.clip_id: item for item in items}
        device = choose_device(self.device)
        backend = choose_backend("auto", device)
        provenance = {"detector": "mtcnn", "backend": backend, "emotemporal": versions()["emotemporal"]}
        with tempfile.TemporaryDirectory() if self.store is None else nullcontext(self.store) as folder:
            store = CropStore.create(folder, geometry, provenance)
            found = extract_faces(
                list((_items_of(store) | wanted).values()),
                store,
                partial(MtcnnDetector, device=device, backend=backend),
                workers=self.workers,
            )
            failed = next((reason for name, reason in found.failures.items() if name in wanted), None)
            if failed is not None:
                raise VideoError(failed)
            evidence = clip_evidence(store, classifier, list(wanted), keep=self.store is not None)
        return [
            ClipSequence(
                clip_id=item.clip_id,
                label=classifier.labels.index(item.label) if item.label else 0,
                subject=item.subject,
                pts_seconds=evidence[item.clip_id].pts_seconds,
                views=evidence[item.clip_id].views,
                source=item.clip_id,
            )
            for item in items
        ]


def _items_of(store: CropStore) -> dict[str, ClipItem]:
    """Return what a store's index lists and is still there, by id; it shall go on to list them."""
    if not (store.folder / "index.csv").is_file():
        return {}
    return {
        row.clip_id: ClipItem(Path(row.path), row.clip_id, row.label, row.subject, row.split, row.source)
        for row in store.read_index()
        if Path(row.path).is_file()
    }


def clip_id_of(path: str | Path) -> str:
    """Return the name by which a store knows a video: another for each path."""
    path = Path(path).absolute()
    safe = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in path.stem)
    return f"{safe[:60]}_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:12]}"


def _require_same_length(paths: Sequence[Any], labels: Sequence[Any], groups: Sequence[Any] | None) -> None:
    if len(labels) != len(paths) or (groups is not None and len(groups) != len(paths)):
        found = f"{len(paths)} paths, {len(labels)} labels"
        raise UsageError(
            f"expected a label (and group) for each path, found {found}"
            + ("" if groups is None else f", {len(groups)} groups")
        )
    if len({str(label) for label in labels}) < 2:
        raise UsageError("expected labels of at least two emotions")


def _places(labels: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Return the distinct labels, sorted, and the position of each among the network's emotions."""
    classes = sorted({str(label) for label in labels})
    positions: dict[str, int] = {}
    for name in classes:
        emotion = counts_as(canonical_emotion(name), known)
        if emotion is None:
            raise DataError(f"label '{name}': the frame network knows {', '.join(known)}")
        place = list(known).index(emotion)
        if place in positions.values():
            raise DataError(f"label '{name}' is the same emotion as another; use one name for it")
        positions[name] = place
    return classes, positions
