"""The shipped demo clip: what the README and the end-to-end tests build on."""

from pathlib import Path

import av
import numpy as np
import pytest

# First frame of each shot: both people, Collins, nobody, Hopper, both.
SHOT_STARTS = (0, 70, 125, 155, 210)
NUM_FRAMES, FPS = 270, 25


@pytest.fixture(scope="module")
def clip(root: Path) -> Path:
    return root / "examples" / "demo.mp4"


@pytest.fixture(scope="module")
def frames(clip: Path) -> np.ndarray:
    """uint8 (N, 120, 214, 3), RGB: small copies of all frames."""
    with av.open(str(clip)) as container:
        return np.stack(
            [f.to_ndarray(format="rgb24", width=214, height=120) for f in container.decode(video=0)]
        )


def test_it_is_small_and_plays_everywhere(clip: Path) -> None:
    assert 100_000 < clip.stat().st_size < 2_000_000
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.format.name) == ("h264", "yuv420p")
        assert (video.width, video.height, float(video.average_rate)) == (854, 480, FPS)
        assert audio.codec_context.name == "aac"
        assert 8 <= container.duration / av.time_base <= 12


def test_every_frame_decodes_at_its_time(clip: Path) -> None:
    with av.open(str(clip)) as container:
        seconds = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(seconds, np.arange(NUM_FRAMES) / FPS, atol=1e-3)


def test_its_sound_is_soft_and_never_silent(clip: Path) -> None:
    with av.open(str(clip)) as container:
        sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
        rate = container.streams.audio[0].rate
    assert sound.shape[1] / rate == pytest.approx(NUM_FRAMES / FPS, abs=0.1)
    assert 0.05 < np.abs(sound).max() < 0.7
    for start, end in zip(SHOT_STARTS, (*SHOT_STARTS[1:], NUM_FRAMES), strict=True):
        middle = sound[:, int((start + 10) / FPS * rate) : int((end - 10) / FPS * rate)]
        assert np.sqrt((middle**2).mean()) > 0.01


def test_it_cuts_where_the_shots_begin_and_moves_gently_between(frames: np.ndarray) -> None:
    steps = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    cuts = np.array(SHOT_STARTS[1:]) - 1
    within = np.delete(steps, cuts)
    assert steps[cuts].min() > 25
    assert within.max() < 8
    assert within.min() > 0.05  # the camera never stands still


@pytest.mark.slow
def test_faces_are_where_they_are_promised(clip: Path) -> None:
    facenet_pytorch = pytest.importorskip("facenet_pytorch")
    detector = facenet_pytorch.MTCNN(keep_all=True)
    small = {}  # half size is enough to find them and takes a quarter of the time
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in (35, 97, 140, 182, 240):
                small[index] = frame.reformat(width=427, height=240).to_image()
    boxes = [detector.detect(image)[0] for image in small.values()]
    assert [0 if found is None else len(found) for found in boxes] == [2, 1, 0, 1, 2]
