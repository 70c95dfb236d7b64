"""Networks out of checkpoints: what a header describes, filled with the tensors."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from emotemporal.checkpoint import Checkpoint
from emotemporal.errors import CheckpointError, DataError, UsageError
from emotemporal.labels import LABEL_SETS, LabelMap
from emotemporal.models.backbone import build_backbone
from emotemporal.models.classifier import Backend, EmotionClassifier
from emotemporal.models.temporal import TemporalHead
from emotemporal.structures import FaceRows


def choose_labels(checkpoint: Checkpoint, label_set: str | None) -> tuple[str, LabelMap]:
    """Find what a set of labels is made from.

    Args:
        checkpoint: whose frame network looks at the faces.
        label_set: one of `LABEL_SETS`; None for the checkpoint's own labels.
    Returns: name of the frame network's classifier, and the map from its emotions to the set.
    Raises:
        UsageError: there is no such set, or this network cannot tell its emotions.
    """
    header = checkpoint.header
    if label_set is None:
        return header.main_classifier, LabelMap.between(header.labels, header.labels)
    if label_set not in LABEL_SETS:
        raise UsageError(f"label set '{label_set}' is unknown, expected one of {', '.join(LABEL_SETS)}")
    classifier = "ferplus8" if label_set == "ferplus" else header.main_classifier
    if classifier not in header.backbone.label_sets:
        known = ", ".join(header.backbone.label_sets)
        raise UsageError(
            f"--labels {label_set}: {checkpoint.path} has no classifier {classifier}, only {known}; "
            "choose other labels or another checkpoint"
        )
    try:
        return classifier, LabelMap.between(header.backbone.label_sets[classifier], LABEL_SETS[label_set])
    except DataError as error:
        raise UsageError(f"--labels {label_set}: {error}, which {checkpoint.path} was trained on") from error


def build_classifier(
    checkpoint: Checkpoint,
    *,
    classifier: str | None = None,
    device: torch.device | str = "cpu",
    backend: Backend = "torch",
    num_threads: int = 1,
) -> EmotionClassifier:
    """Build a checkpoint's networks from its dimensions and fill them with its tensors.

    Args:
        checkpoint: the weights.
        classifier: which of the frame network's classifiers gives the evidence; None for the main one. A
            head is built for the main one alone, whose evidence it was trained on.
        device: where the networks run.
        backend: what runs the frame network.
        num_threads: that run it under OpenVINO.
    Raises:
        UsageError: the backend is not installed, or cannot run this network.
        CheckpointError: names or shapes do not fit the dimensions in the header.
    """
    header = checkpoint.header
    backbone = build_backbone(header.backbone)
    _fill(backbone, checkpoint, "backbone.")
    classifier = classifier or header.main_classifier
    head = None
    if header.head is not None and classifier == header.main_classifier:
        head = TemporalHead(
            header.head,
            embedding_dim=backbone.embedding_dim,
            num_classes=len(header.labels),
            trained_classes=[header.labels.index(name) for name in header.trained_labels],
        )
        _fill(head, checkpoint, "head.")
    return EmotionClassifier(
        backbone,
        labels=header.backbone.label_sets[classifier],
        temperature=header.temperature_of(classifier),
        label_set=classifier,
        head=head,
        head_temperature=header.head_temperature,
        device=device,
        backend=backend,
        num_threads=num_threads,
        checkpoint_sha256=checkpoint.sha256,
    )


def build_landmark_finder(checkpoint: Checkpoint) -> Callable[[FaceRows], np.ndarray]:
    """Return what finds the landmarks that a checkpoint's head sees: faces -> float32 (M, 68, 2), pixels.

    Raises:
        UsageError: dlib or its model file is not installed.
    """
    # Most heads do without.
    from emotemporal.faces.landmarks import LandmarkPredictor, predict_rows

    try:
        return partial(predict_rows, LandmarkPredictor())
    except UsageError as error:
        raise UsageError(f"{checkpoint.path}: its head sees geometry; {error}") from error


def _fill(module: torch.nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    tensors = {
        name.removeprefix(prefix): value
        for name, value in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{checkpoint.path}: the tensors do not fit the header's dimensions ({reason})"
        ) from error
