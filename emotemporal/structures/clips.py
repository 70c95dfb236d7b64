"""Clips as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
    """int64 (B,); -1 where unknown."""

    def __post_init__(self) -> None:
        batch, length = self.mask.shape
        for name in ("embeddings", "evidence", "seconds"):
            shape = tuple(getattr(self, name).shape)
            require(shape[:2] == (batch, length), self, f"{name} is {shape}, mask {(batch, length)}")
        require(tuple(self.labels.shape) == (batch,), self, f"labels is {tuple(self.labels.shape)}")

    @classmethod
    def pad(
        cls,
        embeddings: Sequence[np.ndarray],
        evidence: Sequence[np.ndarray],
        pts_seconds: Sequence[np.ndarray],
        labels: Sequence[int] | None = None,
    ) -> ClipBatch:
        """Put clips of different lengths, each at least one frame, into one batch.

        Args:
            embeddings: B of float (L, D).
            evidence: B of float (L, C).
            pts_seconds: B of float64 (L,).
            labels: B integers, where known.
        """
        import torch

        shape = (len(pts_seconds), max(len(times) for times in pts_seconds))
        padded_embeddings = torch.zeros(*shape, embeddings[0].shape[1])
        padded_evidence = torch.zeros(*shape, evidence[0].shape[1])
        seconds = torch.zeros(*shape)
        mask = torch.zeros(*shape, dtype=torch.bool)
        for row, times in enumerate(pts_seconds):
            num = len(times)
            padded_embeddings[row, :num] = torch.from_numpy(embeddings[row]).float()
            padded_evidence[row, :num] = torch.from_numpy(evidence[row])
            seconds[row, :num] = torch.from_numpy(times - times[0])
            mask[row, :num] = True
        known = torch.full(shape[:1], -1) if labels is None else torch.tensor(list(labels))
        return cls(padded_embeddings, padded_evidence, seconds, mask, known)

    def to(self, device: torch.device | str) -> ClipBatch:
        return ClipBatch(
            self.embeddings.to(device),
            self.evidence.to(device),
            self.seconds.to(device),
            self.mask.to(device),
            self.labels.to(device),
        )
