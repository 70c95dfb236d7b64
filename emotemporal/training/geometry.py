"""Train temporal networks on landmarks alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from emotemporal.faces.geometry import feature_motion
from emotemporal.models.baseline import centre_on_person
from emotemporal.models.geometry import GeometryHead
from emotemporal.models.specs import HeadSpec


@dataclass(frozen=True)
class GeometryConfig:
    """How a `GeometryHead` is trained."""

    head: HeadSpec = field(default_factory=lambda: HeadSpec(dropout=0.5))
    epochs: int = 14
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    min_share: float = 0.75
    """Of a clip that a random cut in time leaves."""
    max_stretch: float = 0.25
    """Time runs faster or slower by up to this share."""
    person_noise: float = 0.15
    """Standard deviation of what is added to all windows of a clip alike, in units of the features: as if
    somebody else's face showed the same."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class GeometryClip:
    """One clip as a sequence of windows."""

    views: tuple[np.ndarray, ...]
    """float (T, D) each: the clip as it is, then mirrored."""
    seconds: np.ndarray
    """float64 (T,), from 0."""


def window_features(
    features: np.ndarray, seconds: np.ndarray, *, window_seconds: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce frames to windows of equal time, so that any frame rate gives the same sequence.

    Args:
        features: (L, G).
        seconds: (L,), strictly increasing.
    Returns: float64 (T, 2 G), the mean of each feature and of its speed; float64 (T,), the windows' starts
        from 0. A window without frames is left out.
    """
    both = np.concatenate([features, feature_motion(features, seconds)], axis=1)
    number = ((seconds - seconds[0]) / window_seconds).astype(int)
    numbers, first = np.unique(number, return_index=True)
    sums = np.add.reduceat(both, first, axis=0)
    counts = np.diff(np.append(first, len(seconds)))
    return sums / counts[:, None], numbers * window_seconds


def standardise(
    clips: Sequence[GeometryClip], train: np.ndarray, people: np.ndarray, *, personal: bool
) -> list[GeometryClip]:
    """Bring all features to one scale.

    Args:
        clips: N clips.
        train: int, positions of the training clips, whose mean and spread are the units.
        people: (N,), whom each shows.
        personal: each person's own windows are the units instead, labels unseen.
    """
    result: list[list[np.ndarray]] = [[] for _ in clips]
    lengths = [len(clip.seconds) for clip in clips]
    ends = np.cumsum(lengths)[:-1]
    of_clips = np.repeat(np.arange(len(clips)), lengths)
    for view in range(len(clips[0].views)):
        rows = np.concatenate([clip.views[view] for clip in clips])
        if personal:
            rows = centre_on_person(rows, people[of_clips], rescale=True)
        else:
            known = rows[np.isin(of_clips, train)]
            rows = (rows - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-9)
        for views, part in zip(result, np.split(rows.astype(np.float32), ends), strict=True):
            views.append(part)
    return [replace(clip, views=tuple(views)) for clip, views in zip(clips, result, strict=True)]


def train_geometry_head(
    clips: Sequence[GeometryClip], labels: np.ndarray, num_classes: int, config: GeometryConfig
) -> GeometryHead:
    """Train a network on standardised clips for a fixed number of epochs.

    Args:
        clips: N clips.
        labels: int (N,), in [0, `num_classes`).
    """
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    head = GeometryHead(config.head, feature_dim=clips[0].views[0].shape[1], num_classes=num_classes)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    rounds = max(len(clips) // config.batch_size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=rounds * config.epochs, pct_start=0.2
    )
    truth = torch.from_numpy(np.asarray(labels, np.int64))
    head.train()
    for _ in range(config.epochs):
        for rows in np.array_split(random.permutation(len(clips)), rounds):
            features, seconds, mask = _pad([_augment(clips[i], config, random) for i in rows])
            features = features + config.person_noise * torch.randn_like(features[:, :1])
            loss = nn.functional.cross_entropy(
                head(features, seconds, mask), truth[rows], label_smoothing=config.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return head.eval()


@torch.inference_mode()
def predict_geometry(head: GeometryHead, clips: Sequence[GeometryClip]) -> np.ndarray:
    """Return the probabilities of standardised clips, averaged over views, float32 (N, C)."""
    probs = [
        head(*_pad([(clip.views[view], clip.seconds) for clip in clips])).softmax(-1)
        for view in range(len(clips[0].views))
    ]
    return torch.stack(probs).mean(0).numpy()


def _augment(
    clip: GeometryClip, config: GeometryConfig, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A cut of one view at another pace: float32 (T', D), seconds (T',)."""
    view = clip.views[random.integers(len(clip.views))]
    length = int(np.ceil(len(view) * random.uniform(config.min_share, 1)))
    start = random.integers(len(view) - length + 1)
    part = slice(start, start + length)
    pace = random.uniform(1 - config.max_stretch, 1 + config.max_stretch)
    return view[part], (clip.seconds[part] - clip.seconds[start]) * pace


def _pad(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, T, D), seconds (B, T), mask bool (B, T), zeros in padding."""
    features = nn.utils.rnn.pad_sequence([torch.from_numpy(view) for view, _ in parts], batch_first=True)
    times = [torch.from_numpy(seconds).float() for _, seconds in parts]
    seconds = nn.utils.rnn.pad_sequence(times, batch_first=True)
    lengths = torch.tensor([len(view) for view, _ in parts])
    return features, seconds, torch.arange(features.shape[1]) < lengths[:, None]
