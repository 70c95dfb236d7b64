"""MTCNN's networks as PyTorch has them, apart since PyTorch takes a second to load and half a gigabyte."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from emotemporal.errors import EmotemporalError
from emotemporal.recorded import RecordedNetwork


class _FromPixels(nn.Module):
    """A network that takes pixels as they are, uint8 (B, H, W, 3)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        # A permutation leaves the channels last, which saves a third of P-Net's time and half of O-Net's.
        return self.network((x.permute(0, 3, 1, 2).float() - 127.5) * (1 / 128))


class TorchNetwork:
    """One of the networks, `PNet`, `RNet` or `ONet`, run by PyTorch on the CPU."""

    def __init__(self, name: str) -> None:
        # bfloat16 is slower on the CPU for networks this narrow.
        self._network = load_network(name).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(part.numpy() for part in self._network(torch.from_numpy(batch)))


def record_network(name: str, device: str | torch.device) -> RecordedNetwork:
    """Return `PNet`, `RNet` or `ONet` as PyTorch runs it on a GPU."""
    return RecordedNetwork(load_network(name).to(device).to(memory_format=torch.channels_last), device)


def load_network(name: str) -> nn.Module:
    """Return `PNet`, `RNet` or `ONet` with facenet-pytorch's weights, taking pixels as they are.

    Raises:
        EmotemporalError: the weights are missing or damaged.
    """
    try:
        # It imports torchvision, which takes seconds: only where its networks are built.
        from facenet_pytorch.models import mtcnn

        return _FromPixels(getattr(mtcnn, name)().eval().requires_grad_(False))
    except Exception as error:
        # Without a detector there is no video without faces, but a broken installation.
        reason = str(error).partition("\n")[0]
        raise EmotemporalError(
            f"face detector: {name} of facenet-pytorch does not load ({reason}); "
            "run: pip install --force-reinstall facenet-pytorch==2.5.3"
        ) from error
