"""The frame network compiled by OpenVINO: about 1.6 times as fast as PyTorch on a CPU with bf16.

Needs the extra `emotemporal[openvino]`.
"""

import numpy as np
import torch
from torch import Tensor, nn

from emotemporal.compiled import compile_network
from emotemporal.errors import UsageError
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.network import FrameNetwork

_BATCH = 24
"""Crops a pass: larger ones take no less time for each."""


class _Flat(nn.Module):
    """A frame network that returns a tuple, which is what can be converted."""

    def __init__(self, network: FrameNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self.network(x)
        return (found.embedding, *found.logits.values())


class OpenVinoBackbone:
    """A frame network as OpenVINO runs it, in bf16 where the processor computes in that.

    Args:
        network: as built by `build_backbone`; it is read, not changed.
        identity: of its weights, by which what was compiled is kept for the next time; None keeps nothing.
        num_threads: that run it.
    Raises:
        UsageError: OpenVINO is not installed, or the network sees landmarks.
    """

    def __init__(self, network: FrameNetwork, *, identity: str | None = None, num_threads: int = 1) -> None:
        if network.spec.landmarks:
            raise UsageError("backend openvino runs networks that see the picture alone; use backend torch")
        self._names = ("embedding", *network.classifiers)
        self._run = compile_network(
            "frame",
            identity or "",
            lambda: _Flat(network.eval()),
            # Two rows, since a dimension of one would be taken for a constant.
            example=lambda: torch.zeros(2, 1, 48, 48),
            input_shape=(-1, 1, -1, -1),
            num_threads=num_threads,
        )

    def run(self, crops: np.ndarray, *, batch_size: int = _BATCH) -> dict[str, np.ndarray]:
        """Run over crops of any number; takes and returns what `run_backbone` does."""
        parts = []
        for start in range(0, len(crops), batch_size):
            inputs = normalise_crops(torch.from_numpy(crops[start : start + batch_size]))
            parts.append(self._run(inputs.numpy()))
        columns = zip(*parts, strict=True)
        return {name: np.concatenate(column) for name, column in zip(self._names, columns, strict=True)}
