"""A one-way head frame by frame, while its person is still being filmed.

What a one-way head says of a frame depends on the frames before it alone, so its state can be carried along:
the cost of a frame does not grow with the time that has passed.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emotemporal.models.temporal import MOTION_SECONDS, RecurrentEncoder, TemporalHead, redistribute, temper
from emotemporal.models.torch_runners import TorchHead
from emotemporal.models.windows import WINDOW_SECONDS


class StreamOutput(NamedTuple):
    """Log-probabilities after one more frame; all as `HeadOutput` would have them of the frames so far."""

    frame_logits: Tensor
    """(C,), normalised, of this frame."""
    clip_logits: Tensor
    """(C,), normalised, of all frames so far."""
    trust: Tensor
    """Scalar, in [0, 1], of both."""


class HeadStream:
    """What a one-way head remembers of one person.

    After each frame the output equals that of `TemporalHead.forward` on the frames so far.

    Args:
        head: of kind `gru`, in evaluation mode.
    Raises:
        ValueError: the head looks ahead.
    """

    def __init__(self, head: TemporalHead) -> None:
        if head.spec.kind != "gru" or not isinstance(head.encoder, RecurrentEncoder):
            raise ValueError(f"a head of kind {head.spec.kind} looks ahead, only a gru can go frame by frame")
        self._head, self._encoder = head, head.encoder
        self._recent: deque[tuple[Tensor, Tensor]] = deque()
        """Times and embeddings back to the one that the next motion is measured from."""
        self._num_frames = 0
        self._first_seconds = 0.0
        self._hidden: Tensor | None = None
        # Sums over the frames so far; the pooled states by their attention, relative to its maximum.
        self._embedding_sum: Tensor | float = 0.0
        self._motion_sum: Tensor | float = 0.0
        self._evidence_sum: Tensor | None = None
        self._attention_max: Tensor | None = None
        self._attention_sum: Tensor | float = 0.0
        self._pooled_sum: Tensor | float = 0.0

    @torch.inference_mode()
    def step(self, embedding: Tensor, evidence: Tensor, pts_seconds: float) -> StreamOutput:
        """Take the next frame.

        Args:
            embedding: (D,).
            evidence: (C,), log-probabilities of the frame network.
            pts_seconds: its time, greater than that of the frame before.
        """
        head = self._head
        if not self._num_frames:
            self._first_seconds = pts_seconds
        self._num_frames += 1
        # In float32 since the first frame, as in a batch: the comparison below must fall the same way.
        seconds = embedding.new_tensor(pts_seconds - self._first_seconds)
        evidence = evidence.log_softmax(-1)
        self._embedding_sum = self._embedding_sum + embedding
        offset = (embedding - self._embedding_sum / self._num_frames) / head.offset_scale
        step_seconds = seconds - self._recent[-1][0] if self._recent else seconds
        motion = self._take_motion(embedding, seconds) / head.motion_scale
        features = head.embed(torch.cat([offset, motion])) + head.weigh(evidence.exp())
        features = torch.cat([features, self._encoder.pace(step_seconds).view(1)])
        states, self._hidden = self._encoder.gru(features.view(1, 1, -1), self._hidden)
        state = states.view(-1)
        pooled = self._pool(state)
        self._motion_sum = self._motion_sum + motion
        mean_motion = self._motion_sum / self._num_frames
        self._evidence_sum = (
            evidence if self._evidence_sum is None else torch.logaddexp(self._evidence_sum, evidence)
        )
        trust = head.trust_after(seconds, mean_motion.mean())
        clip_correction = trust * head.clip_correction(torch.cat([pooled, mean_motion]))
        return StreamOutput(
            redistribute(evidence, trust * head.frame_correction(state), head.trained),
            redistribute(self._evidence_sum - np.log(self._num_frames), clip_correction, head.trained),
            trust,
        )

    def _take_motion(self, embedding: Tensor, seconds: Tensor) -> Tensor:
        """Return how much the frame differs from that `MOTION_SECONDS` before, (D,)."""
        recent = self._recent
        recent.append((seconds, embedding))
        wanted = seconds - MOTION_SECONDS
        while len(recent) > 1 and recent[1][0] <= wanted:
            recent.popleft()
        return (embedding - recent[0][1]).abs()

    def _pool(self, state: Tensor) -> Tensor:
        """Return the states so far, each by its attention, (W,)."""
        weight = self._head.attention(state)
        before = weight if self._attention_max is None else self._attention_max
        self._attention_max = torch.maximum(before, weight)
        keep, add = (before - self._attention_max).exp(), (weight - self._attention_max).exp()
        attention_sum, pooled_sum = self._attention_sum * keep + add, self._pooled_sum * keep + add * state
        self._attention_sum, self._pooled_sum = attention_sum, pooled_sum
        return pooled_sum / attention_sum


class PersonStream:
    """One person's probabilities frame by frame, for as long as they are seen.

    The head was trained on clips of seconds and sees no more of a person at once, as offline: beside the
    state in use another is begun after half of a window, and takes over when that is full. So after the first
    half window the output goes by the last half to whole window.

    Args:
        head: a one-way one.
        window_seconds: the longest that one state goes on.
    """

    def __init__(self, head: TorchHead, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._head = head.network
        self._excess = head.temperature - 1
        self._device = head.device
        self._window_seconds = window_seconds
        self._streams: list[tuple[float, HeadStream]] = []
        """Time of the first frame and state, the older first."""

    def step(
        self, embedding: np.ndarray, log_probs: np.ndarray, pts_seconds: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the next frame.

        Args:
            embedding: float (D,).
            log_probs: float32 (C,).
            pts_seconds: greater than that of the frame before.
        Returns: probabilities float32 (C,) of the frame, and of the clip that the frames so far make.
        """
        streams = self._streams
        while streams and pts_seconds - streams[0][0] > self._window_seconds:
            streams.pop(0)
        if not streams or (len(streams) == 1 and pts_seconds - streams[0][0] >= self._window_seconds / 2):
            streams.append((pts_seconds, HeadStream(self._head)))
        seen = torch.from_numpy(embedding).to(self._device).float()
        evidence = torch.from_numpy(log_probs).to(self._device)
        out, *_ = [stream.step(seen, evidence, pts_seconds) for _, stream in streams]
        # As offline: what the head adds is overconfident with new people.
        temperature = 1 + self._excess * out.trust
        frame, clip = (
            temper(logits, self._head.trained, temperature).exp().cpu().numpy() for logits in out[:2]
        )
        return frame, clip / clip.sum()
