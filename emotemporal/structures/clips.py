"""Clips as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotemporal.structures.checks import require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips padded to one length, as tensors."""

    embeddings: torch.Tensor
    """float32 (B, T, D), the frame network's embeddings."""
    evidence: torch.Tensor
    """float32 (B, T, C), the frame network's calibrated log-probabilities."""
    seconds: torch.Tensor
    """float32 (B, T), time since the first frame of the clip."""
    mask: torch.Tensor
    """bool (B, T), true where a frame is real."""
    labels: torch.Tensor
    """int64 (B,)."""

    def __post_init__(self) -> None:
        batch, length = self.mask.shape
        for name in ("embeddings", "evidence", "seconds"):
            shape = tuple(getattr(self, name).shape)
            require(shape[:2] == (batch, length), self, f"{name} is {shape}, mask {(batch, length)}")
        require(tuple(self.labels.shape) == (batch,), self, f"labels is {tuple(self.labels.shape)}")

    def to(self, device: torch.device | str) -> ClipBatch:
        return ClipBatch(
            self.embeddings.to(device),
            self.evidence.to(device),
            self.seconds.to(device),
            self.mask.to(device),
            self.labels.to(device),
        )
