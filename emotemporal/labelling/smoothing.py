"""Smooth one track's emotion probabilities over real time.

Everything is in seconds: a 60 fps source, dropped frames or a variable rate change neither the
strength of the smoothing nor its delay.
"""

from typing import Literal, get_args

import numpy as np
from scipy.linalg import expm

Smoothing = Literal["hmm", "ema", "none"]
SMOOTHINGS: tuple[str, ...] = get_args(Smoothing)

# Neighbouring frames show nearly the same picture: within this time they count as one observation. Chosen on
# clips of five actors spliced at known times (benchmarks/spliced.py). With 0.1 s the frame network's labels
# change 30 to 50 % more often, and in excerpts of 2 to 8 s segments have F1 0.17 instead of 0.21, with no
# more right frames; with 0.2 s fewer frames are right where excerpts are of 1 to 2 s, 28.7 instead of 29.7 %.
EVIDENCE_SECONDS = 0.15
# Of a temporal head's labels fewer are right with more, at every length: 28.8 to 31.9 % with 0.05 s, 26.6 to
# 31.0 % with 0.1 s.
HEAD_EVIDENCE_SECONDS = 0.05
# From the past alone a label follows a change the later the less a frame counts.
CAUSAL_EVIDENCE_SECONDS = 0.1
_ONLY_FRAME_SECONDS = 0.1
# A floor keeps one overconfident frame from ruling an emotion out for good.
_LEAST_LIKELIHOOD = 1e-4
# By this much a smoothed label is larger than the next: enough to survive six digits in a file.
_MARGIN = 1e-4


def smooth_probs(
    probs: np.ndarray,
    pts_seconds: np.ndarray,
    *,
    method: Smoothing = "hmm",
    dwell_seconds: float = 2.0,
    tau_seconds: float = 0.3,
    evidence_seconds: float = EVIDENCE_SECONDS,
    rates: np.ndarray | None = None,
) -> np.ndarray:
    """Smooth by the named method; see `smooth_hmm` and `smooth_ema`.

    Args:
        probs: (L, C), rows sum to 1.
        pts_seconds: (L,), strictly increasing.
        method: `hmm`, `ema`, or `none`, which returns `probs` as they are.
        dwell_seconds: mean time in one emotion, of `hmm`, where `rates` are not given.
        tau_seconds, evidence_seconds, rates: as of the methods.
    Returns: float32 (L, C), rows sum to 1.
    """
    if method == "none":
        return probs.astype(np.float32)
    if method == "ema":
        return smooth_ema(probs, pts_seconds, tau_seconds=tau_seconds)
    if method == "hmm":
        if rates is None:
            rates = dwell_rates(probs.shape[1], dwell_seconds)
        return smooth_hmm(
            probs, pts_seconds, rates=rates, tau_seconds=tau_seconds, evidence_seconds=evidence_seconds
        )
    raise ValueError(f"smoothing '{method}' is unknown, expected one of {', '.join(SMOOTHINGS)}")


def smooth_ema(probs: np.ndarray, pts_seconds: np.ndarray, *, tau_seconds: float) -> np.ndarray:
    """Average over time with weights that fall off exponentially to both sides.

    The window is symmetric, so that labels do not lag behind the picture. Each frame weighs as long
    as it is shown.

    Args:
        probs: (L, C), rows sum to 1.
        pts_seconds: (L,), strictly increasing.
        tau_seconds: decay time; 0 returns `probs` unchanged.
    Returns: float32 (L, C), rows sum to 1.
    """
    if tau_seconds < 0:
        raise ValueError(f"tau_seconds must not be negative, found {tau_seconds}")
    if tau_seconds == 0 or len(probs) == 1:
        return probs.astype(np.float32)
    weights = frame_seconds(pts_seconds)
    # Numerator and weight travel together, as one more column.
    weighted = np.concatenate([probs * weights[:, None], weights[:, None]], axis=1)
    decay = np.exp(-np.diff(pts_seconds) / tau_seconds)
    forward, backward = weighted.copy(), weighted.copy()
    for t in range(1, len(probs)):
        forward[t] += decay[t - 1] * forward[t - 1]
        backward[-1 - t] += decay[-t] * backward[-t]
    total = forward + backward - weighted
    return (total[:, :-1] / total[:, -1:]).astype(np.float32)


def smooth_hmm(
    probs: np.ndarray,
    pts_seconds: np.ndarray,
    *,
    rates: np.ndarray,
    tau_seconds: float,
    evidence_seconds: float = EVIDENCE_SECONDS,
) -> np.ndarray:
    """Take labels from a hidden emotion that jumps in continuous time, confidence from the frames.

    The labels are the most probable ones by forward-backward (Rabiner 1989) with the frame probabilities as
    likelihoods. The posterior itself would grow certain of what every frame of a still face says with 60 %,
    since frames are far from independent; so the probabilities are those of `smooth_ema`, moved no more
    than is needed for the label to be the largest.

    Args:
        probs: (L, C), rows sum to 1.
        pts_seconds: (L,), strictly increasing.
        rates: (C, C), jumps per second from row to column, rows sum to 0; see `dwell_rates`,
            `estimate_rates`.
        tau_seconds: of the average that the probabilities come from.
        evidence_seconds: frames within this time count as one observation.
    Returns: float32 (L, C), rows sum to 1.
    Raises:
        ValueError: `evidence_seconds` is not positive, or `tau_seconds` negative.
    """
    _require_evidence(evidence_seconds)
    labels = _most_probable_labels(probs, pts_seconds, rates, evidence_seconds)
    averaged = smooth_ema(probs, pts_seconds, tau_seconds=tau_seconds)
    return _lift_labels(averaged.astype(np.float64), labels).astype(np.float32)


def _lift_labels(averaged: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Move probabilities, float64 (L, C), no more than is needed for the labels, (L,), to be the largest."""
    rows = np.arange(len(averaged))
    others = averaged.copy()
    others[rows, labels] = -np.inf
    lack = others.max(1) - averaged[rows, labels] + _MARGIN
    # Mixing in a share w of the label alone lifts it by w over what the rest keeps.
    share = np.clip(lack / (1 + lack - _MARGIN), 0, None)
    lifted = averaged * (1 - share)[:, None]
    lifted[rows, labels] += share
    return lifted


class CausalSmoother:
    """Smooth one person's probabilities while frames still come in, from what has been seen so far alone.

    The counterpart of `smooth_probs`: of `hmm` the forward filter without the backward pass, of `ema` the
    past half of the window. Labels therefore follow a change later than offline ones.

    Args:
        method: `hmm`, `ema`, or `none`.
        dwell_seconds: mean time in one emotion, of `hmm`.
        tau_seconds: decay time of the average.
        evidence_seconds: frames within this time count as one observation.
    """

    def __init__(
        self,
        *,
        method: Smoothing = "hmm",
        dwell_seconds: float = 2.0,
        tau_seconds: float = 0.3,
        evidence_seconds: float = CAUSAL_EVIDENCE_SECONDS,
    ) -> None:
        if method not in SMOOTHINGS:
            raise ValueError(f"smoothing '{method}' is unknown, expected one of {', '.join(SMOOTHINGS)}")
        if not tau_seconds > 0:
            raise ValueError(f"tau_seconds must be positive, found {tau_seconds}")
        _require_evidence(evidence_seconds)
        self._method = method
        self._dwell_seconds = dwell_seconds
        self._tau_seconds = tau_seconds
        self._evidence_seconds = evidence_seconds
        self._last_seconds: float | None = None
        self._sum: np.ndarray | float = 0.0
        self._weight = 0.0
        self._belief: np.ndarray | None = None

    def step(self, probs: np.ndarray, pts_seconds: float) -> np.ndarray:
        """Take the next frame's probabilities, (C,), summing to 1; return them smoothed, float32 (C,).

        Args:
            probs: of the frame.
            pts_seconds: its time, greater than that of the frame before.
        """
        if self._method == "none":
            return probs.astype(np.float32)
        elapsed = self._evidence_seconds if self._last_seconds is None else pts_seconds - self._last_seconds
        self._last_seconds = pts_seconds
        # Each frame weighs as long as has passed since the one before: how long it stays is not known yet.
        # After a gap it does not stand for the gap.
        weight, decay = min(elapsed, self._evidence_seconds), np.exp(-elapsed / self._tau_seconds)
        total = decay * self._sum + weight * probs.astype(np.float64)
        self._sum, self._weight = total, decay * self._weight + weight
        averaged = total / self._weight
        if self._method == "ema":
            return averaged.astype(np.float32)
        likelihood = np.maximum(probs.astype(np.float64), _LEAST_LIKELIHOOD) ** (
            weight / self._evidence_seconds
        )
        if self._belief is None:
            belief: np.ndarray = likelihood
        else:
            belief = self._belief @ expm(dwell_rates(len(probs), self._dwell_seconds) * elapsed) * likelihood
        self._belief = belief / belief.sum()
        return _lift_labels(averaged[None], np.argmax(self._belief, keepdims=True))[0].astype(np.float32)


def _require_evidence(seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"evidence_seconds must be positive, found {seconds}")


def _most_probable_labels(
    probs: np.ndarray, pts_seconds: np.ndarray, rates: np.ndarray, evidence_seconds: float
) -> np.ndarray:
    """Return the hidden emotion with the highest posterior on each frame, int64 (L,)."""
    num_classes = probs.shape[1]
    if rates.shape != (num_classes, num_classes):
        raise ValueError(f"rates must have shape {(num_classes, num_classes)}, found {rates.shape}")
    exponent = np.minimum(1.0, frame_seconds(pts_seconds) / evidence_seconds)[:, None]
    likelihood = np.maximum(probs.astype(np.float64), _LEAST_LIKELIHOOD) ** exponent
    gaps, which = np.unique(np.round(np.diff(pts_seconds), 4), return_inverse=True)
    transitions = [expm(rates * gap) for gap in gaps]

    forward = np.empty_like(likelihood)
    forward[0] = likelihood[0] / likelihood[0].sum()
    for t in range(1, len(probs)):
        row = (forward[t - 1] @ transitions[which[t - 1]]) * likelihood[t]
        forward[t] = row / row.sum()
    posterior = forward
    backward = np.ones(num_classes)
    for t in range(len(probs) - 2, -1, -1):
        backward = transitions[which[t]] @ (likelihood[t + 1] * backward)
        backward /= backward.sum()
        posterior[t] *= backward
    return posterior.argmax(1)


def dwell_rates(num_classes: int, dwell_seconds: float) -> np.ndarray:
    """Return jump rates for a mean dwell time, every other emotion equally likely to follow.

    Returns: float64 (C, C), rows sum to 0.
    """
    if not dwell_seconds > 0:
        raise ValueError(f"dwell_seconds must be positive, found {dwell_seconds}")
    leave = 1.0 / dwell_seconds
    rates = np.full((num_classes, num_classes), leave / max(1, num_classes - 1))
    np.fill_diagonal(rates, -leave if num_classes > 1 else 0.0)
    return rates


def estimate_rates(
    sequences: list[tuple[np.ndarray, np.ndarray]], num_classes: int, *, dwell_seconds: float = 2.0
) -> np.ndarray:
    """Estimate jump rates from labelled frames: jumps seen over the time spent.

    Args:
        sequences: pairs of labels (L,) and pts_seconds (L,).
        dwell_seconds: what is assumed before any data; counts as one dwell of each emotion.
    Returns: float64 (C, C), rows sum to 0.
    """
    jumps = dwell_rates(num_classes, dwell_seconds) * dwell_seconds
    np.fill_diagonal(jumps, 0.0)
    spent = np.full(num_classes, dwell_seconds)
    for labels, pts_seconds in sequences:
        changed = np.flatnonzero(np.diff(labels))
        np.add.at(jumps, (labels[changed], labels[changed + 1]), 1.0)
        np.add.at(spent, labels[:-1], np.diff(pts_seconds))
    rates = jumps / spent[:, None]
    np.fill_diagonal(rates, -rates.sum(1))
    return rates


def frame_seconds(pts_seconds: np.ndarray) -> np.ndarray:
    """Return how long each frame stands for: half the way to both neighbours, (L,)."""
    if len(pts_seconds) == 1:
        return np.full(1, _ONLY_FRAME_SECONDS)
    middles = (pts_seconds[1:] + pts_seconds[:-1]) / 2
    first = pts_seconds[0] - (middles[0] - pts_seconds[0])
    last = pts_seconds[-1] + (pts_seconds[-1] - middles[-1])
    return np.diff(np.concatenate([[first], middles, [last]]))


def fill_gaps(probs: np.ndarray, seconds: np.ndarray, wanted_seconds: np.ndarray) -> np.ndarray:
    """Interpolate probabilities in time to frames on which the face was not seen.

    Args:
        probs: (K, C), of the frames that were seen.
        seconds: (K,), their times, strictly increasing.
        wanted_seconds: (L,).
    Returns: float32 (L, C), rows sum to 1.
    """
    columns = [np.interp(wanted_seconds, seconds, column) for column in probs.T]
    filled = np.stack(columns, axis=1)
    return (filled / filled.sum(1, keepdims=True)).astype(np.float32)
