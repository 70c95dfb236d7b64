"""Networks compiled by OpenVINO: on a CPU about twice as fast as PyTorch, which stays unloaded.

Needs the extra `emotemporal[openvino]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from emotemporal.compiled import CompiledNetwork, compile_network, computes_in_bf16
from emotemporal.errors import UsageError
from emotemporal.models.classifier import Precision
from emotemporal.models.specs import LUMA, MIN_DEVIATION, BackboneSpec, HeadSpec
from emotemporal.structures import PaddedClips

if TYPE_CHECKING:
    from torch import Tensor, nn

    from emotemporal.models.network import FrameNetwork
    from emotemporal.models.temporal import TemporalHead

_BATCH = 24
"""Crops a pass: larger ones take no less time for each."""


class OpenVinoFrame:
    """A frame network as OpenVINO runs it: in bf16 where the processor computes in that, else in int8.

    Args:
        spec: its dimensions.
        make_network: called only where nothing is kept.
        identity: of its weights, by which what was compiled is kept for the next time; None keeps nothing.
        num_threads: that run it.
    Attributes:
        precision: `bf16`, `int8`, or `float32` for networks that are not known to be as good in int8.
    Raises:
        UsageError: OpenVINO is not installed, or the network sees landmarks.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        make_network: Callable[[], FrameNetwork],
        *,
        identity: str | None = None,
        num_threads: int = 1,
    ) -> None:
        if spec.landmarks:
            raise UsageError("backend openvino runs networks that see the picture alone; use backend torch")
        self.spec = spec
        self.precision: Precision = (
            "bf16" if computes_in_bf16() else "int8" if spec.name == "seresnet" else "float32"
        )

        def make_module() -> nn.Module:
            from emotemporal.models.exportable import NormalisedFrame

            network = make_network()
            if self.precision == "int8":
                from emotemporal.models.quantised import quantise_network

                network = quantise_network(network)
            return NormalisedFrame(network).eval()

        self._network = compile_network(
            "frame_int8" if self.precision == "int8" else "frame",
            identity or "",
            make_module,
            # Two rows, since a dimension of one would be taken for a constant.
            examples=lambda: _zeros((2, 1, 48, 48)),
            input_shapes=[(-1, 1, -1, -1)],
            num_threads=num_threads,
        )

    def run(
        self, crops: np.ndarray, landmarks: np.ndarray | None = None, *, batch_size: int = _BATCH
    ) -> dict[str, np.ndarray]:
        """Do what `FrameRunner.run` says."""
        parts = [
            self._network(_normalise(crops[start : start + batch_size]))
            for start in range(0, len(crops), batch_size)
        ]
        names = ("embedding", *self.spec.label_sets)
        return {
            name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
        }


class OpenVinoHead:
    """A temporal head of appearance as OpenVINO runs it, in float32.

    Args:
        spec: its dimensions.
        make_network: called only where nothing is kept, when it runs for the first time.
        temperature: flattens what the head made of the evidence.
        identity: of its weights, by which what was compiled is kept for the next time; None keeps nothing.
    Raises:
        UsageError: the head sees landmarks.
    """

    def __init__(
        self,
        spec: HeadSpec,
        make_network: Callable[[], TemporalHead],
        *,
        temperature: float = 1.0,
        identity: str | None = None,
    ) -> None:
        if spec.sees_geometry:
            raise UsageError("backend openvino runs heads that see no landmarks; use backend torch")
        self.spec = spec
        self._make_network = make_network
        self._temperature = temperature
        self._identity = identity
        self._network: CompiledNetwork | None = None

    def run(self, clips: PaddedClips) -> tuple[np.ndarray, np.ndarray]:
        """Do what `HeadRunner.run` says."""
        if clips.embeddings is None or clips.evidence is None:
            raise ValueError("a head of appearance needs embeddings and evidence")
        if self._network is None:
            self._network = self._compile(clips.embeddings.shape[2], clips.evidence.shape[2])
        frames, of_clips = self._network(clips.embeddings, clips.evidence, clips.seconds, clips.mask)
        return np.exp(frames), np.exp(of_clips)

    def _compile(self, embedding_dim: int, num_classes: int) -> CompiledNetwork:
        def make_module() -> nn.Module:
            from emotemporal.models.exportable import ExportableHead

            return ExportableHead(self._make_network(), self._temperature).eval()

        def examples() -> list[Tensor]:
            import torch

            mask = torch.ones(2, 5, dtype=torch.bool)
            mask[1, 3:] = False
            seen = _zeros((2, 5, embedding_dim), (2, 5, num_classes))
            return [*seen, torch.arange(5.0).expand(2, 5) * mask, mask]

        return compile_network(
            "head",
            self._identity or "",
            make_module,
            examples=examples,
            input_shapes=[(-1, -1, embedding_dim), (-1, -1, num_classes), (-1, -1), (-1, -1)],
            half=False,
        )


def _zeros(*shapes: tuple[int, ...]) -> list[Tensor]:
    import torch

    return [torch.zeros(shape) for shape in shapes]


def _normalise(crops: np.ndarray) -> np.ndarray:
    """Do what `backbone.normalise_crops` does, without PyTorch."""
    values = crops.astype(np.float32)
    if values.ndim == 4:
        red, green, blue = (np.float32(weight) for weight in LUMA)
        values = red * values[..., 0] + green * values[..., 1] + blue * values[..., 2]
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(flat).sum(axis=1, keepdims=True) / np.float32(flat.shape[1] - 1))
    return (flat / np.maximum(deviation, np.float32(MIN_DEVIATION))).reshape(values[:, None].shape)
