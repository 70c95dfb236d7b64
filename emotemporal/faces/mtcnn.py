"""The three networks of MTCNN, on pictures as they are, run by PyTorch or OpenVINO.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks,
2016, with the weights that facenet-pytorch ships.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from emotemporal.compiled import compile_network
from emotemporal.errors import EmotemporalError

Network = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Takes uint8 (B, H, W, 3) RGB; gives float32 (B, ...)."""

RNET_SIDE_PX = 24
ONET_SIDE_PX = 48


class Cascade(NamedTuple):
    """The networks, from coarse to fine; each output is of a batch."""

    pnet: Network
    """Any size -> shifts of the box (B, 4, H', W'), probabilities (B, 2, H', W'), one cell every 2 pixels."""
    rnet: Network
    """24 x 24 -> shifts (B, 4), probabilities (B, 2)."""
    onet: Network
    """48 x 48 -> shifts (B, 4), landmarks (B, 10) as five x, then five y, probabilities (B, 2)."""


class _FromPixels(nn.Module):
    """A network that takes pixels as they are, uint8 (B, H, W, 3)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        # A permutation leaves the channels last, which saves a third of P-Net's time and half of O-Net's.
        return self.network((x.permute(0, 3, 1, 2).float() - 127.5) * (1 / 128))


def load_cascade(device: str | torch.device = "cpu", *, backend: Literal["torch", "openvino"]) -> Cascade:
    """Load the three networks.

    Args:
        device: where PyTorch runs them; OpenVINO runs on the CPU.
        backend: what runs them.
    Raises:
        UsageError: OpenVINO was asked for and is not installed.
        EmotemporalError: the weights are missing or damaged.
    """
    if backend == "torch":
        return Cascade(*(_TorchNetwork(name, device) for name in ("PNet", "RNet", "ONet")))
    return Cascade(_compile("PNet", None), _compile("RNet", RNET_SIDE_PX), _compile("ONet", ONET_SIDE_PX))


class _TorchNetwork:
    def __init__(self, name: str, device: str | torch.device) -> None:
        # bfloat16 is slower on the CPU for networks this narrow.
        self._network = _load(name).to(device, memory_format=torch.channels_last)
        self._device = device

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        found = self._network(torch.from_numpy(batch).to(self._device))
        return tuple(part.cpu().numpy() for part in found)


def _load(name: str) -> nn.Module:
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


def _compile(name: str, side_px: int | None) -> Network:
    example_px = side_px or 64
    return compile_network(
        name.lower(),
        f"facenet-pytorch {version('facenet-pytorch')}",
        lambda: _load(name),
        example=lambda: torch.zeros(2, example_px, example_px, 3, dtype=torch.uint8),
        input_shape=(-1, side_px or -1, side_px or -1, 3),
    )
