"""Networks out of checkpoints: what a header describes, filled with the tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from emotemporal.checkpoint import Checkpoint, CheckpointHeader
from emotemporal.errors import DataError, UsageError
from emotemporal.labels import LABEL_SETS, LabelMap
from emotemporal.models.classifier import Backend, EmotionClassifier, FrameRunner, HeadRunner
from emotemporal.models.openvino import OpenVinoFrame, OpenVinoHead
from emotemporal.models.specs import HeadSpec
from emotemporal.structures import FaceRows

if TYPE_CHECKING:
    import torch

    from emotemporal.models.network import FrameNetwork
    from emotemporal.models.temporal import TemporalHead


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
    checkpoint: Checkpoint[CheckpointHeader],
    *,
    classifier: str | None = None,
    device: str | torch.device = "cpu",
    backend: Backend = "torch",
    num_threads: int = 1,
) -> EmotionClassifier:
    """Build a checkpoint's networks from its dimensions and fill them with its tensors.

    Args:
        checkpoint: the weights.
        classifier: which of the frame network's classifiers gives the evidence; None for the main one. A
            head is built for the main one alone, whose evidence it was trained on.
        device: where the networks run.
        backend: what runs them; a head that sees landmarks is always run by PyTorch.
        num_threads: that run the frame network under OpenVINO.
    Raises:
        UsageError: the backend is not installed, or cannot run this network there.
        CheckpointError: names or shapes do not fit the dimensions in the header.
    """
    header = checkpoint.header
    classifier = classifier or header.main_classifier
    if backend == "openvino" and str(device) != "cpu":
        raise UsageError(f"backend openvino runs on the CPU, not on {device}; use device cpu")
    head = None
    if header.head is not None and classifier == header.main_classifier:
        head = _head_runner(header.head, checkpoint, device, backend)
    return EmotionClassifier(
        _frame_runner(checkpoint, device, backend, num_threads),
        labels=header.backbone.label_sets[classifier],
        temperature=header.temperature_of(classifier),
        label_set=classifier,
        head=head,
        checkpoint_sha256=checkpoint.sha256,
    )


def _frame_runner(
    checkpoint: Checkpoint[CheckpointHeader],
    device: str | torch.device,
    backend: Backend,
    num_threads: int,
) -> FrameRunner:
    def make_network() -> FrameNetwork:
        # It imports PyTorch, which what was compiled before does without.
        from emotemporal.weights import load_frame_network

        return load_frame_network(checkpoint)

    if backend == "openvino":
        return OpenVinoFrame(
            checkpoint.header.backbone, make_network, identity=checkpoint.sha256, num_threads=num_threads
        )
    from emotemporal.models.torch_runners import TorchFrame

    return TorchFrame(make_network(), device)


def _head_runner(
    spec: HeadSpec, checkpoint: Checkpoint[CheckpointHeader], device: str | torch.device, backend: Backend
) -> HeadRunner:
    if backend == "openvino" and not spec.sees_geometry:

        def make_network() -> TemporalHead:
            from emotemporal.weights import load_head

            return load_head(checkpoint)

        return OpenVinoHead(
            spec,
            make_network,
            temperature=checkpoint.header.head_temperature,
            identity=checkpoint.sha256,
        )
    from emotemporal.weights import load_torch_head

    return load_torch_head(checkpoint, device)


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
