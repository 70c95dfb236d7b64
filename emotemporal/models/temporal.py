"""Temporal heads: a sequence of what is seen of each frame -> frame and clip logits.

What a head sees comes in two streams: appearance, the frame network's evidence and embeddings, and geometry,
the 68 landmarks as `faces.geometry.geometry_stream` tells them. A head is made for one of them or for both.

A head never replaces the frame network's evidence, it corrects it: its output starts at exactly that
evidence and moves only where training clips taught it to. Probability moves among the emotions that
the training clips contained; the others keep what the frame network gave them. A head of geometry alone has
no such evidence: it starts from equal belief in the emotions of its training clips and none in the others.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from emotemporal.faces.geometry import STREAM_DIM
from emotemporal.models.specs import HeadSpec

# About the time of a change of expression, and several frames at any usual rate.
MOTION_SECONDS = 0.13
_FULL_TRUST_SECONDS = 1.0
# Of an emotion that a head of geometry alone has never seen; not 0, whose logarithm no loss can bear.
_NO_BELIEF = 1e-9
# The many statistics would drown the encoder's states at first.
_STATISTICS_SCALE = 0.3


class HeadOutput(NamedTuple):
    """Log-probabilities of a batch of clips."""

    frame_logits: Tensor
    """(B, T, C), normalised; rows of padding are meaningless."""
    clip_logits: Tensor
    """(B, C), normalised."""
    frame_trust: Tensor
    """(B, T, 1), in [0, 1]: how far the correction was let through."""
    clip_trust: Tensor
    """(B, 1)."""
    correction: Tensor
    """Scalar: mean square of what was added to the evidence, for regularisation."""


class TemporalHead(nn.Module):
    """A recurrent or attentive network over one person's frames.

    Args:
        spec: its dimensions, and which streams it sees.
        embedding_dim: of the frame network; of no meaning to a head of geometry alone.
        num_classes: C.
        trained_classes: positions of the emotions that occur in the training clips.
    """

    trained: Tensor
    offset_scale: Tensor
    motion_scale: Tensor
    motion_range: Tensor
    geometry_mean: Tensor
    geometry_scale: Tensor

    def __init__(
        self, spec: HeadSpec, *, embedding_dim: int, num_classes: int, trained_classes: Sequence[int]
    ) -> None:
        super().__init__()
        self.spec = spec
        trained = torch.zeros(num_classes, dtype=torch.bool)
        trained[list(trained_classes)] = True
        self.register_buffer("trained", trained)
        # Beside what the encoder makes of it, what is plain of the whole clip: with few training clips the
        # mean motion is the best single cue.
        plain_dim = 0
        if spec.sees_appearance:
            self.register_buffer("offset_scale", torch.ones(embedding_dim))
            self.register_buffer("motion_scale", torch.ones(embedding_dim))
            # Mean motion, in units of `motion_scale`, at which trust begins and is full.
            self.register_buffer("motion_range", torch.tensor([0.0, 1e-3]))
            self.embed = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(2 * embedding_dim, spec.width))
            self.weigh = nn.Linear(num_classes, spec.width)
            plain_dim += embedding_dim
        encoder = TransformerEncoder(spec) if spec.kind == "transformer" else RecurrentEncoder(spec)
        width = encoder.width_out
        self.encoder: nn.Module = encoder
        self.dropout = nn.Dropout(spec.dropout)
        self.attention = nn.Linear(width, 1)
        if spec.sees_geometry:
            self.register_buffer("geometry_mean", torch.zeros(STREAM_DIM))
            self.register_buffer("geometry_scale", torch.ones(STREAM_DIM))
            self.embed_geometry = nn.Sequential(
                nn.Dropout(spec.dropout), nn.Linear(STREAM_DIM, spec.width), nn.GELU()
            )
            plain_dim += 2 * STREAM_DIM
        self.frame_correction = nn.Linear(width, num_classes)
        self.clip_correction = nn.Linear(width + plain_dim, num_classes)
        # An untrained head says exactly what the frames say.
        for layer in (self.frame_correction, self.clip_correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        embeddings: Tensor | None,
        evidence: Tensor | None,
        seconds: Tensor,
        mask: Tensor,
        geometry: Tensor | None = None,
    ) -> HeadOutput:
        """Run on padded clips; a stream that the head does not see is ignored.

        Args:
            embeddings: (B, T, D).
            evidence: (B, T, C), log-probabilities of the frame network.
            seconds: (B, T), time since the clip's first frame.
            mask: bool (B, T), true = real; real frames come first.
            geometry: (B, T, G), `geometry_stream` of the landmarks.
        Raises:
            UsageError: a stream that the head sees is missing.
        """
        self.spec.require_streams(appearance=evidence is not None, geometry=geometry is not None)
        real = mask.unsqueeze(-1)
        num_real = mask.sum(1, keepdim=True)
        features, plain = 0.0, []
        if self.spec.sees_appearance:
            assert embeddings is not None  # `require_streams` has seen them
            assert evidence is not None
            evidence = evidence.log_softmax(-1)
            offset = self._offset(embeddings, mask) / self.offset_scale
            motion = _motion(embeddings, seconds, mask) / self.motion_scale
            features = self.embed(torch.cat([offset, motion], -1)) + self.weigh(evidence.exp())
            plain.append(motion.sum(1) / num_real)  # (B, D)
            frame_trust, clip_trust = self._trust(motion, seconds, mask)
        else:
            evidence = self._equal_belief().expand(*mask.shape, -1)
            # There is nothing else that could be trusted instead.
            frame_trust, clip_trust = torch.ones_like(seconds).unsqueeze(-1), torch.ones_like(seconds[:, :1])
        if self.spec.sees_geometry:
            assert geometry is not None
            geometry = (geometry - self.geometry_mean) / self.geometry_scale * real
            features = features + self.embed_geometry(geometry)
            plain.append(_STATISTICS_SCALE * _mean_and_spread(geometry, real))  # (B, 2 G)
        states = self.dropout(self.encoder(features, seconds, mask))  # (B, T, W)
        attention = self.attention(states).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(-1)
        pooled = (attention.unsqueeze(-1) * states).sum(1)  # (B, W)

        frame_correction = frame_trust * self.frame_correction(states)
        plain = [self.dropout(values) for values in plain]
        clip_correction = clip_trust * self.clip_correction(torch.cat([pooled, *plain], -1))
        # The clip's evidence is that of summed probability.
        clip_evidence = evidence.masked_fill(~real, -torch.inf).logsumexp(1) - num_real.log()
        correction = clip_correction.square().mean()
        correction = correction + (frame_correction.square() * real).sum() / (real.sum() * evidence.shape[-1])
        return HeadOutput(
            redistribute(evidence, frame_correction, self.trained),
            redistribute(clip_evidence, clip_correction, self.trained),
            frame_trust,
            clip_trust,
            correction,
        )

    def _equal_belief(self) -> Tensor:
        """Return log-probabilities (C,): the trained classes alike, next to nothing for the others."""
        return self.trained.float().clamp_min(_NO_BELIEF).log().log_softmax(-1)

    def _trust(self, motion: Tensor, seconds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far the correction is to be trusted, in [0, 1]: of frames (B, T, 1), of the clip (B, 1).

        It judges by movement, so it has nothing to say of a still picture, of a moment, or of a face that
        moves less than in any training clip, as a photograph does: there the evidence stands alone. A
        one-way head goes by what it has seen so far.
        """
        moved = motion.mean(-1)  # (B, T), 0 in padding
        so_far = moved.cumsum(1) / mask.cumsum(1).clamp_min(1)
        last = mask.sum(1, keepdim=True) - 1
        span, total = seconds.gather(1, last), so_far.gather(1, last)  # (B, 1)
        if self.spec.kind != "gru":
            seconds, so_far = span.expand_as(seconds), total.expand_as(so_far)
        return self.trust_after(seconds, so_far).unsqueeze(-1), self.trust_after(span, total)

    def trust_after(self, elapsed: Tensor, motion: Tensor) -> Tensor:
        """Return the trust, in [0, 1], after so many seconds with so much mean motion, any shape."""
        low, high = self.motion_range
        long_enough = (elapsed / _FULL_TRUST_SECONDS).clamp(0, 1)
        return long_enough * ((motion - low) / (high - low)).clamp(0, 1)

    def _offset(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return how each frame differs from the person's mean over the clip, (B, T, D), 0 in padding.

        What a face looks like at rest tells the person, not the emotion: heads that see the embeddings
        themselves learn their training actors by heart. A one-way head takes the mean so far, so as not
        to look ahead.
        """
        real = mask.unsqueeze(-1)
        embeddings = embeddings * real
        if self.spec.kind == "gru":
            mean = embeddings.cumsum(1) / real.cumsum(1).clamp_min(1)
        else:
            mean = embeddings.sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return (embeddings - mean) * real

    @torch.no_grad()
    def fit_geometry_scale(self, frames: Tensor) -> None:
        """Set the units of geometry from all frames of the training clips, (N, G)."""
        self.geometry_mean, self.geometry_scale = frames.mean(0), frames.std(0, correction=0).clamp_min(1e-6)

    @torch.no_grad()
    def fit_scale(self, sequences: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set the units of offset and motion, and the usual range of motion, from the training clips.

        Args:
            sequences: embeddings (L, D) and their times in seconds (L,).
        """
        offsets, motions = [], []
        for embeddings, seconds in sequences:
            mask = torch.ones(1, len(seconds), dtype=torch.bool)
            offsets.append(self._offset(embeddings[None], mask)[0].square().mean(0))
            motions.append(_motion(embeddings[None], seconds[None], mask)[0].mean(0))
        self.offset_scale = torch.stack(offsets).mean(0).sqrt().clamp_min(1e-3)
        self.motion_scale = torch.stack(motions).mean(0).clamp_min(1e-3)
        of_clips = (torch.stack(motions) / self.motion_scale).mean(1)
        # Trust ends a fifth below the stillest training clip and is full for all but the stillest 5 %.
        low, high = 0.8 * of_clips.min(), of_clips.quantile(0.05)
        self.motion_range = torch.stack([low, torch.maximum(high, low + 1e-3)])

    @torch.no_grad()
    def fit_trust(self, still: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set the range of motion in which trust rises from faces whose expression does not change.

        Call after `fit_scale`. What camera and tracker alone bring about is no reason to correct: trust
        begins where three quarters of these clips move less, and is full where 95 % do.

        Args:
            still: as for `fit_scale`, of faces that keep still.
        """
        of_clips = torch.stack(
            [
                (_motion(embeddings[None], seconds[None], torch.ones(1, len(seconds), dtype=torch.bool))[0])
                .div(self.motion_scale)
                .mean()
                for embeddings, seconds in still
            ]
        )
        low, high = of_clips.quantile(0.75), of_clips.quantile(0.95)
        self.motion_range = torch.stack([low, torch.maximum(high, low + 1e-3)])


def _motion(embeddings: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
    """Return how much each frame differs from that `MOTION_SECONDS` before, (B, T, D), not negative.

    Where the clip has only just begun it is compared with the first frame. 0 in padding.
    """
    # Times must rise to be searched; padding has none.
    times = seconds.masked_fill(~mask, torch.inf)
    wanted = (times - MOTION_SECONDS).masked_fill(~mask, 0.0).contiguous()
    earlier = torch.searchsorted(times.contiguous(), wanted, right=True).sub(1).clamp_min(0)
    before = embeddings.gather(1, earlier.unsqueeze(-1).expand_as(embeddings))
    return (embeddings - before).abs() * mask.unsqueeze(-1)


def _mean_and_spread(values: Tensor, real: Tensor) -> Tensor:
    """Return mean and deviation of each column over a clip: (B, T, G), (B, T, 1) -> (B, 2 G)."""
    num_real = real.sum(1)
    mean = values.sum(1) / num_real
    # The small constant keeps the root's slope finite where a clip has one frame.
    spread = (((values - mean.unsqueeze(1)).square() * real).sum(1) / num_real + 1e-4).sqrt()
    return torch.cat([mean, 2 * spread - 1], -1)


def redistribute(evidence: Tensor, correction: Tensor, trained: Tensor) -> Tensor:
    """Move probability among the trained classes by `correction`; leave all others alone.

    Args:
        evidence: (..., C), normalised log-probabilities.
        correction: (..., C), added to the trained classes' log-probabilities.
        trained: bool (C,).
    Returns: (..., C), normalised log-probabilities; the trained classes' sum is that of the evidence.
    """
    within = evidence[..., trained]
    moved = (within + correction[..., trained]).log_softmax(-1) + within.logsumexp(-1, keepdim=True)
    out = evidence.clone()
    out[..., trained] = moved
    return out


def temper(logits: Tensor, trained: Tensor, temperature: float | Tensor) -> Tensor:
    """Divide the trained classes' log-probabilities by a temperature, their sum kept.

    Args:
        logits: (..., C), normalised log-probabilities.
        trained: bool (C,).
        temperature: above 1 flattens; a tensor is (..., 1).
    Returns: (..., C), normalised log-probabilities.
    """
    return redistribute(logits, (1 / temperature - 1) * logits, trained)


class RecurrentEncoder(nn.Module):
    """GRU (Cho et al. 2014), in one or both directions, that is told the time between frames."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        both = spec.kind == "bigru"
        self.gru = nn.GRU(
            spec.width + 1,
            spec.width,
            num_layers=spec.num_layers,
            batch_first=True,
            bidirectional=both,
            dropout=spec.dropout if spec.num_layers > 1 else 0.0,
        )
        self.width_out = spec.width * (2 if both else 1)

    @staticmethod
    def pace(step_seconds: Tensor) -> Tensor:
        """Return what the network is told of the time between two frames, any shape."""
        # About 1 at 10 frames a second, and slow to grow over long gaps.
        return torch.log1p(step_seconds.clamp_min(0) * 10)

    def forward(self, features: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T), (B, T) -> (B, T, width_out)."""
        step = self.pace(torch.diff(seconds, dim=1, prepend=seconds[:, :1])).unsqueeze(-1)
        packed = nn.utils.rnn.pack_padded_sequence(
            torch.cat([features, step], -1), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = self.gru(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=mask.shape[1])
        return padded


class TransformerEncoder(nn.Module):
    """Self-attention (Vaswani et al. 2017) with sinusoids of real time in place of frame numbers."""

    frequencies: Tensor

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            spec.width,
            spec.num_attention_heads,
            dim_feedforward=2 * spec.width,
            dropout=spec.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, spec.num_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(spec.width)
        self.width_out = spec.width
        # Periods from a blink (0.1 s) to a whole scene (30 s).
        periods = torch.logspace(math.log10(0.1), math.log10(30.0), spec.width // 2)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    def forward(self, features: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T), (B, T) -> (B, T, W)."""
        phase = seconds.unsqueeze(-1) * self.frequencies
        features = features + torch.cat([phase.sin(), phase.cos()], -1)
        # PyTorch's padding mask is true where a position is to be ignored.
        return self.norm(self.layers(features, src_key_padding_mask=~mask))
