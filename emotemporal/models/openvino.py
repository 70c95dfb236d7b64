"""The frame network compiled by OpenVINO: about 1.6 times as fast as PyTorch on a CPU with bf16.

Needs the extra `emotemporal[openvino]`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emotemporal.errors import UsageError
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.network import FrameNetwork


class _Flat(nn.Module):
    """A frame network that returns a tuple, which is what can be exported."""

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
        num_threads: of the inference; 0 lets OpenVINO choose.
    Raises:
        UsageError: OpenVINO is not installed, or the network sees landmarks.
    """

    def __init__(self, network: FrameNetwork, *, num_threads: int = 0) -> None:
        if network.spec.landmarks:
            raise UsageError("backend openvino runs networks that see the picture alone; use backend torch")
        try:
            import openvino
        except ImportError as error:
            raise UsageError(
                "backend openvino: OpenVINO is not installed; run: pip install 'emotemporal[openvino]'"
            ) from error
        self._names = ("embedding", *network.classifiers)
        batch = torch.export.Dim("batch")
        with torch.no_grad():
            # Two rows, since a dimension of one would be taken for a constant.
            example = torch.zeros(2, 1, 48, 48)
            program = torch.export.export(
                _Flat(network.eval()), (example,), dynamic_shapes=({0: batch},), strict=False
            )
        core = openvino.Core()
        capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if capable else "f32"}
        if num_threads:
            options["INFERENCE_NUM_THREADS"] = num_threads
        self._compiled = core.compile_model(openvino.convert_model(program), "CPU", options)

    def run(self, crops: np.ndarray, *, batch_size: int = 256) -> dict[str, np.ndarray]:
        """Run over crops of any number; takes and returns what `run_backbone` does."""
        parts = []
        for start in range(0, len(crops), batch_size):
            inputs = normalise_crops(torch.from_numpy(crops[start : start + batch_size]))
            found = self._compiled(inputs.numpy())
            parts.append([found[i].copy() for i in range(len(self._names))])
        columns = zip(*parts, strict=True)
        return {name: np.concatenate(column) for name, column in zip(self._names, columns, strict=True)}
