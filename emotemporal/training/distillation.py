"""Soft targets from networks trained before (Hinton et al. 2015, "Distilling the Knowledge").

FER2013's labels are noisy: FER+'s annotators agree with 62.5 % of them. What several networks believe of
a training face is a cleaner target than its one label.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from emotemporal.checkpoint import load_checkpoint
from emotemporal.errors import UsageError
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.weights import load_frame_network


def teacher_probs(
    teachers: Sequence[Path], images: np.ndarray, spec: BackboneSpec, *, device: torch.device | str = "cpu"
) -> dict[str, np.ndarray]:
    """Return what the teachers believe of faces: calibrated, the mean over teachers and mirrored pictures.

    Args:
        teachers: frame checkpoints, at least one.
        images: uint8 (N, S, S), gray.
        spec: of the student, whose label sets are wanted.
    Returns: label set -> float32 (N, C), rows sum to 1.
    Raises:
        UsageError: a teacher lacks one of the label sets.
    """
    views = (images, images[:, :, ::-1].copy())
    total = {name: np.zeros((len(images), len(names))) for name, names in spec.label_sets.items()}
    for path in teachers:
        checkpoint = load_checkpoint(path)
        known = checkpoint.header.backbone.label_sets
        for name, names in spec.label_sets.items():
            if known.get(name) != names:
                raise UsageError(
                    f"teacher {path}: was not trained on label set {name}, has {', '.join(known)}"
                )
        network = load_frame_network(checkpoint).to(device).to(memory_format=torch.channels_last)
        for view in views:
            logits = run_backbone(network, view, device=device)
            for name, sums in total.items():
                sums += softmax(logits[name] / checkpoint.header.temperature_of(name), axis=1)
    count = len(teachers) * len(views)
    return {name: (sums / count).astype(np.float32) for name, sums in total.items()}
