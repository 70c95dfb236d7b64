"""Clips padded to one length, as arrays and as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from emotemporal.structures.checks import require

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class PaddedClips:
    """Clips padded with zeros to one length."""

    embeddings: np.ndarray | None
    """float32 (B, T, D), the frame network's embeddings; None where no frame network looked."""
    evidence: np.ndarray | None
    """float32 (B, T, C), the frame network's calibrated log-probabilities; None like the embeddings."""
    seconds: np.ndarray
    """float32 (B, T), time since the first frame of the clip."""
    mask: np.ndarray
    """bool (B, T), true where a frame is real."""
    geometry: np.ndarray | None = None
    """float32 (B, T, G), `geometry_stream` of the landmarks; None where there are none."""

    @classmethod
    def pad(
        cls,
        embeddings: Sequence[np.ndarray] | None,
        evidence: Sequence[np.ndarray] | None,
        pts_seconds: Sequence[np.ndarray],
        *,
        geometry: Sequence[np.ndarray] | None = None,
    ) -> PaddedClips:
        """Put clips of different lengths, each at least one frame, side by side.

        Args:
            embeddings: B of float (L, D), or None.
            evidence: B of float (L, C), or None.
            pts_seconds: B of float64 (L,).
            geometry: B of float (L, G), or None.
        """
        lengths = np.array([len(times) for times in pts_seconds])

        def padded(parts: Sequence[np.ndarray]) -> np.ndarray:
            out = np.zeros((len(parts), lengths.max(), *parts[0].shape[1:]), np.float32)
            for row, part in zip(out, parts, strict=True):
                row[: len(part)] = part
            return out

        return cls(
            None if embeddings is None else padded(embeddings),
            None if evidence is None else padded(evidence),
            padded([times - times[0] for times in pts_seconds]),
            np.arange(lengths.max()) < lengths[:, None],
            None if geometry is None else padded(geometry),
        )


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips padded to one length, as tensors; see `PaddedClips`."""

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
        """Put clips of different lengths into one batch: those of `PaddedClips.pad`, and B labels."""
        return cls.of(PaddedClips.pad(embeddings, evidence, pts_seconds, geometry=geometry), labels)

    @classmethod
    def of(cls, clips: PaddedClips, labels: Sequence[int] | None = None) -> ClipBatch:
        """Turn padded clips into tensors, with labels where they are known."""
        import torch

        def tensor(values: np.ndarray | None) -> torch.Tensor | None:
            return None if values is None else torch.from_numpy(values)

        known = [-1] * len(clips.mask) if labels is None else list(labels)
        return cls(
            tensor(clips.embeddings),
            tensor(clips.evidence),
            torch.from_numpy(clips.seconds),
            torch.from_numpy(clips.mask),
            torch.tensor(known),
            tensor(clips.geometry),
        )

    def to(self, device: torch.device | str) -> ClipBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: value.to(device) for name, value in values.items() if value is not None}
        )
