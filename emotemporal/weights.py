"""Networks of PyTorch out of checkpoints: what a header describes, filled with the tensors."""

from __future__ import annotations

import torch

from emotemporal.checkpoint import Checkpoint, CheckpointHeader
from emotemporal.errors import CheckpointError
from emotemporal.models.backbone import build_backbone
from emotemporal.models.network import FrameNetwork
from emotemporal.models.temporal import TemporalHead
from emotemporal.models.torch_runners import TorchHead


def load_frame_network(checkpoint: Checkpoint[CheckpointHeader]) -> FrameNetwork:
    """Return a checkpoint's frame network, in evaluation mode.

    Raises:
        CheckpointError: names or shapes do not fit the dimensions in the header.
    """
    network = build_backbone(checkpoint.header.backbone)
    _fill(network, checkpoint, "backbone.")
    return network.eval()


def load_head(checkpoint: Checkpoint[CheckpointHeader]) -> TemporalHead:
    """Return the temporal head of a clip checkpoint, in evaluation mode.

    Raises:
        CheckpointError: there is none, or names or shapes do not fit the dimensions in the header.
    """
    header = checkpoint.header
    if header.head is None:
        raise CheckpointError(f"{checkpoint.path}: has no temporal head")
    # The header leaves the length of the embedding to the frame network.
    classifier = checkpoint.arrays.get(f"backbone.classifiers.{header.main_classifier}.weight")
    head = TemporalHead(
        header.head,
        embedding_dim=0 if classifier is None else classifier.shape[1],
        num_classes=len(header.labels),
        trained_classes=[header.labels.index(name) for name in header.trained_labels],
    )
    _fill(head, checkpoint, "head.")
    return head.eval()


def load_torch_head(
    checkpoint: Checkpoint[CheckpointHeader], device: str | torch.device = "cpu"
) -> TorchHead:
    """Return the temporal head of a clip checkpoint with its calibration, on a device.

    Raises:
        CheckpointError: names or shapes do not fit the dimensions in the header.
    """
    return TorchHead(load_head(checkpoint), temperature=checkpoint.header.head_temperature, device=device)


def _fill(module: torch.nn.Module, checkpoint: Checkpoint[CheckpointHeader], prefix: str) -> None:
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
