"""Clips as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from emotemporal.structures.checks import require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips padded to one length, as tensors."""

    embeddings: torch.Tensor | None
    """float32 (B, T, D), the frame network's embeddings; None where no frame network looked."""
    evidence: torch.Tensor | None
    """float32 (B, T, C), the frame network's calibrated log-probabilities; None like the embeddings."""
    seconds: torch.Tensor
    """float32 (B, T), time since the first frame of the clip."""
    mask: torch.Tensor
    """bool (B, T), true where a frame is real."""
    labels: torch.Tensor
    """int64 (B,); -1 where unknown."""
    geometry: torch.Tensor | None = None
    """float32 (B, T, G), `geometry_stream` of the landmarks; None where there are none."""

    def __post_init__(self) -> None:
        batch, length = self.mask.shape
        for name in ("embeddings", "evidence", "seconds", "geometry"):
            values = getattr(self, name)
            shape = (batch, length) if values is None else tuple(values.shape)
            require(shape[:2] == (batch, length), self, f"{name} is {shape}, mask {(batch, length)}")
        require(tuple(self.labels.shape) == (batch,), self, f"labels is {tuple(self.labels.shape)}")

    @classmethod
    def pad(
        cls,
        embeddings: Sequence[np.ndarray] | None,
        evidence: Sequence[np.ndarray] | None,
        pts_seconds: Sequence[np.ndarray],
        labels: Sequence[int] | None = None,
        geometry: Sequence[np.ndarray] | None = None,
    ) -> ClipBatch:
        """Put clips of different lengths, each at least one frame, into one batch.

        Args:
            embeddings: B of float (L, D), or None.
            evidence: B of float (L, C), or None.
            pts_seconds: B of float64 (L,).
            labels: B integers, where known.
            geometry: B of float (L, G), or None.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        def padded(parts: Sequence[np.ndarray]) -> torch.Tensor:
            return pad_sequence([torch.from_numpy(part).float() for part in parts], batch_first=True)

        lengths = torch.tensor([len(times) for times in pts_seconds])
        known = torch.full_like(lengths, -1) if labels is None else torch.tensor(list(labels))
        return cls(
            None if embeddings is None else padded(embeddings),
            None if evidence is None else padded(evidence),
            padded([times - times[0] for times in pts_seconds]),
            torch.arange(int(lengths.max())) < lengths[:, None],
            known,
            None if geometry is None else padded(geometry),
        )

    def to(self, device: torch.device | str) -> ClipBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: value.to(device) for name, value in values.items() if value is not None}
        )
