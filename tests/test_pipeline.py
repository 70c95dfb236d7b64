"""Frames and crops from memory: the same labels as from a file, and clear refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emotemporal.errors import UsageError
from emotemporal.faces.align import align_faces
from emotemporal.pipeline import EmotionPipeline
from emotemporal.video.arrays import FrameArrays
from emotemporal.video.reader import VideoReader

CLIP = ("examples", "demo.mp4")


@pytest.fixture(scope="module")
def pipeline(root) -> EmotionPipeline:
    torch.manual_seed(0)
    return EmotionPipeline.load(device="cpu", one_thread=True)


@pytest.fixture(scope="module")
def filmed(root) -> tuple[np.ndarray, np.ndarray]:
    """The first 30 frames of the demo clip, and their times."""
    frames, seconds = [], []
    with VideoReader(Path(root, *CLIP), batch_size=10) as reader:
        for batch, _ in zip(reader, range(3), strict=False):
            frames.append(batch.data.copy())
            seconds.append(batch.pts_seconds)
    return np.concatenate(frames), np.concatenate(seconds)


@pytest.mark.needs_weights
def test_frames_give_what_their_file_gives(pipeline, filmed, root):
    frames, seconds = filmed
    of_array = pipeline.analyze_frames(frames, seconds, smooth="none", name="own")
    # Gone through once, as something that reads a camera would give them.
    of_iterable = pipeline.analyze_frames(iter(frames), seconds.tolist(), smooth="none")
    of_file = pipeline.analyze(Path(root, *CLIP), smooth="none")
    assert of_array.info.path == "own"
    assert of_array.settings["decoder"] == "arrays"
    np.testing.assert_array_equal(of_array.pts_seconds, seconds)
    assert of_array.tracks
    for track, timeline, again in zip(
        of_array.tracks, of_array.timelines, of_iterable.timelines, strict=True
    ):
        np.testing.assert_array_equal(timeline.frame_probs, again.frame_probs)
        whole = next(i for i, other in enumerate(of_file.tracks) if other.track_id == track.track_id)
        # The tracker settles the last frames before an end by what it knows until then.
        num = len(track) - 15
        found = of_file.timelines[whole].frame_probs[:num]
        np.testing.assert_allclose(timeline.frame_probs[:num], found, atol=1e-5)
    assert len(of_array.to_dataframe()) >= 30


@pytest.mark.needs_weights
def test_own_crops_give_what_the_pipeline_makes_of_them(pipeline, filmed):
    frames, seconds = filmed
    analysis = pipeline.analyze_frames(frames, seconds, smooth="none")
    track, timeline = analysis.tracks[0], analysis.timelines[0]
    assert track.seen.all()
    geometry = pipeline.checkpoint.header.geometry
    crops = np.concatenate(
        [
            align_faces(frames[i], landmarks[None], geometry)
            for i, landmarks in zip(track.frame_index, track.landmarks, strict=True)
        ]
    )
    own = pipeline.analyze_crops(crops, track.pts_seconds, smooth="none")
    # Landmarks of the finished track are what the crops were cut by.
    np.testing.assert_allclose(own.frame_probs, timeline.frame_probs, atol=0.02)
    assert {name: r.emotion for name, r in own.clip.items()} == {
        name: r.emotion for name, r in timeline.clip.items()
    }
    larger = np.repeat(np.repeat(crops, 2, axis=1), 2, axis=2)
    doubled = pipeline.analyze_crops(larger, track.pts_seconds, smooth="none")
    np.testing.assert_allclose(doubled.frame_probs, own.frame_probs, atol=1e-5)


def pictures(num: int = 3) -> np.ndarray:
    return np.zeros((num, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "seconds", "reason"),
    [
        (pictures(), [0.0, 0.1], "3 pictures, but 2 times"),
        (pictures(), [0.0, 0.1, 0.1], "greater than the one before"),
        (pictures(), [0.0, 0.1, np.nan], "numbers of seconds"),
        (pictures(), [], "at least one"),
        (pictures().astype(np.float32), [0.0, 0.1, 0.2], "must be uint8"),
        (pictures()[..., 0], [0.0, 0.1, 0.2], r"\(N, H, W, 3\)"),
        ([], [0.0], "no frame"),
        ([pictures()[0], np.zeros((4, 8, 3), np.uint8)], [0.0, 0.1], r"frame 1 must be uint8 \(8, 8, 3\)"),
        (list(pictures()), [0.0, 0.1], "more frames than the 2 times"),
        (list(pictures()), [0.0, 0.1, 0.2, 0.3], "3 frames, but 4 times"),
    ],
)
def test_frames_that_are_none_are_refused(frames, seconds, reason):
    with pytest.raises(UsageError, match=reason):
        list(FrameArrays(frames, seconds, name="own"))


def test_what_is_known_of_arrays():
    info = FrameArrays(pictures(5), np.arange(5) / 25 + 3, name="own").info
    assert (info.width, info.height, info.num_frames, info.is_still) == (8, 8, 5, False)
    assert (info.average_fps, info.start_seconds, info.duration_seconds) == pytest.approx((25.0, 3.0, 0.2))
    assert FrameArrays(pictures(1), [0.0], name="own").info.is_still
    assert FrameArrays(pictures(3), [0.0, 1.0, 3.0], name="own").info.variable_frame_rate
