"""The three networks of MTCNN, on pictures as they are, run by PyTorch or OpenVINO.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks,
2016, with the weights that facenet-pytorch ships.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from emotemporal.compiled import compile_network

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Network = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Takes uint8 (B, H, W, 3) RGB; gives float32 (B, ...)."""
PyramidNetwork = Callable[[Iterable[np.ndarray]], Iterable[tuple[np.ndarray, ...]]]
"""The same for pictures of several sizes, in their order."""

RNET_SIDE_PX = 24
ONET_SIDE_PX = 48


class Cascade(NamedTuple):
    """The networks, from coarse to fine; each output is of a batch."""

    pnet: PyramidNetwork
    """Any size -> shifts of the box (B, 4, H', W'), probabilities (B, 2, H', W'), one cell every 2 pixels."""
    rnet: Network
    """24 x 24 -> shifts (B, 4), probabilities (B, 2)."""
    onet: Network
    """48 x 48 -> shifts (B, 4), landmarks (B, 10) as five x, then five y, probabilities (B, 2)."""


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
        from emotemporal.faces.mtcnn_torch import TorchNetwork, record_network

        if str(device) != "cpu":
            pnet, rnet, onet = (record_network(name, device) for name in ("PNet", "RNet", "ONet"))
            return Cascade(pnet.run_all, rnet, onet)
        return Cascade(partial(map, TorchNetwork("PNet")), TorchNetwork("RNet"), TorchNetwork("ONet"))
    proposals = partial(map, _compile("PNet", None))
    return Cascade(proposals, _compile("RNet", RNET_SIDE_PX), _compile("ONet", ONET_SIDE_PX))


def _compile(name: str, side_px: int | None) -> Network:
    def make_module() -> nn.Module:
        from emotemporal.faces.mtcnn_torch import load_network

        return load_network(name)

    def examples() -> list[Tensor]:
        import torch

        example_px = side_px or 64
        return [torch.zeros(2, example_px, example_px, 3, dtype=torch.uint8)]

    return compile_network(
        name.lower(),
        f"facenet-pytorch {version('facenet-pytorch')}",
        make_module,
        examples=examples,
        input_shapes=[(-1, side_px or -1, side_px or -1, 3)],
    )
