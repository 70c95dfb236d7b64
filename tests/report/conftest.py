"""Hand-made analyses: whoever reads a test sees every number that goes in."""

from collections.abc import Callable

import numpy as np
import pytest

from emotemporal.labels import FER7
from emotemporal.structures import ClipResult, EmotionTimeline, Track, VideoAnalysis, VideoInfo


def make_clip(**emotions: str) -> dict[str, ClipResult]:
    """Return clip results by aggregation, each emotion with 64% and the others with 6%."""
    results = {}
    for name, emotion in emotions.items():
        probs = np.full(len(FER7), 0.06, np.float32)
        probs[FER7.index(emotion)] = 0.64
        results[name] = ClipResult(emotion, probs, 0.64)
    return results


def make_person(
    track_id: int,
    box: tuple[float, float, float, float],
    *,
    first_frame: int = 0,
    num_frames: int = 1,
    status: int = 0,
    probs: np.ndarray | None = None,
    smoothed: np.ndarray | None = None,
    clip: dict[str, ClipResult] | None = None,
) -> tuple[Track, EmotionTimeline]:
    """Return one person who stands still at 25 frames a second; happy with 64% unless `probs` says else."""
    if probs is None:
        probs = np.tile(make_clip(head="happy")["head"].probs, (num_frames, 1))
    index = np.arange(first_frame, first_frame + num_frames)
    track = Track(
        track_id=track_id,
        frame_index=index,
        pts_seconds=index / 25,
        boxes=np.tile(np.array(box, np.float32), (num_frames, 1)),
        scores=np.full(num_frames, 0.99, np.float32),
        landmarks=np.zeros((num_frames, 5, 2), np.float32),
        status=np.full(num_frames, status, np.uint8),
    )
    clip = make_clip(head="happy", sum="happy", vote="happy") if clip is None else clip
    return track, EmotionTimeline(track_id, probs, probs if smoothed is None else smoothed, clip)


def make_analysis(
    *people: tuple[Track, EmotionTimeline],
    path: str = "folder/clip.mp4",
    size: tuple[int, int] = (640, 360),
    num_frames: int = 1,
) -> VideoAnalysis:
    """Return an analysis of a video of `num_frames` at 25 frames a second."""
    index = np.arange(num_frames)
    return VideoAnalysis(
        info=VideoInfo(path, *size, num_frames, 25.0, 0.0, num_frames / 25, False, False),
        labels=FER7,
        frame_index=index,
        pts_seconds=index / 25,
        tracks=tuple(track for track, _ in people),
        timelines=tuple(timeline for _, timeline in people),
        checkpoint={"name": "toy", "sha256": "0" * 64, "licence": "MIT"},
        settings={"aggregate": "head"},
    )


@pytest.fixture(name="make_clip")
def _make_clip() -> Callable[..., dict[str, ClipResult]]:
    return make_clip


@pytest.fixture(name="make_person")
def _make_person() -> Callable[..., tuple[Track, EmotionTimeline]]:
    return make_person


@pytest.fixture(name="make_analysis")
def _make_analysis() -> Callable[..., VideoAnalysis]:
    return make_analysis
