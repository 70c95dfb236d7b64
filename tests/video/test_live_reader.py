"""The newest picture of a source, its time, and what is dropped."""

import threading
import time

import av
import numpy as np
import pytest

from emotemporal.errors import VideoError
from emotemporal.video import live
from emotemporal.video.live import CameraSource, LiveReader, StreamSource


def gray(level: int) -> np.ndarray:
    return np.full((4, 6, 3), level, np.uint8)


class ScriptedSource:
    """Gives numbered pictures; `steps` are called before each."""

    def __init__(self, num: int, *, is_paced=False, fps=50.0, before=lambda i: None, error=None):
        self.is_paced = is_paced
        self.frame_seconds = 1 / fps
        self.is_closed = False
        self._num, self._before, self._error = num, before, error

    def pictures(self):
        for i in range(self._num):
            self._before(i)
            yield gray(i), 7.0 + i * self.frame_seconds
        if self._error is not None:
            raise self._error

    def close(self):
        self.is_closed = True


@pytest.fixture
def scripted(monkeypatch):
    def make(source, **settings):
        monkeypatch.setattr(live, "open_source", lambda name, *, timeout_seconds: source)
        return LiveReader("0", **settings)

    return make


def write_numbered(path, codec="libx264", first_pts=0):
    """Twenty frames of rising gray, 20 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format="rgb24")
            picture.pts = i + first_pts
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def numbered_video(tmp_path_factory):
    """From 0.5 s on."""
    return write_numbered(tmp_path_factory.mktemp("live") / "numbered.mp4", first_pts=10)


def test_without_dropping_every_frame_of_a_file_comes_at_once(numbered_video):
    started = time.monotonic()
    with LiveReader(str(numbered_video), drop=False) as reader:
        frames = list(reader)
    assert time.monotonic() - started < 0.9
    assert [frame.frame_index for frame in frames] == list(range(20))
    np.testing.assert_allclose(np.diff([frame.pts_seconds for frame in frames]), 0.05, atol=1e-6)
    assert frames[0].image.shape == (48, 64, 3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 10 * np.arange(20), atol=6)
    assert (reader.num_grabbed, reader.num_dropped) == (20, 0)


def test_a_file_is_played_at_its_own_pace(numbered_video, monkeypatch):
    # A machine that stands still for half a second must not look like a source that does.
    monkeypatch.setattr("emotemporal.video.live._MAX_LAG_SECONDS", 60.0)
    started = time.monotonic()
    with LiveReader(str(numbered_video)) as reader:
        frames = list(reader)
    # Nineteen steps of 50 ms.
    assert time.monotonic() - started > 0.9
    assert reader.num_grabbed == 20
    assert len(frames) + reader.num_dropped == 20
    stamps = np.array([frame.grabbed_seconds for frame in frames])
    pts = np.array([frame.pts_seconds for frame in frames])
    # Each counts as grabbed at its own time, whenever its turn came.
    np.testing.assert_allclose(stamps - stamps[0], pts - pts[0], atol=1e-6)


def test_only_the_newest_is_kept_and_the_others_are_counted(scripted):
    first_taken = threading.Event()
    source = ScriptedSource(6, before=lambda i: i == 1 and first_taken.wait(5))
    with scripted(source) as reader:
        frames = iter(reader)
        first = next(frames)
        first_taken.set()
        reader._thread.join(5)
        last = next(frames)
        assert next(frames, None) is None
    assert (first.frame_index, last.frame_index) == (0, 5)
    assert last.image[0, 0, 0] == 5
    assert (reader.num_grabbed, reader.num_dropped) == (6, 4)
    assert source.is_closed


def test_a_camera_that_vanishes_is_an_error_after_its_last_picture(scripted):
    source = ScriptedSource(1, error=VideoError("camera 0: gives no more pictures"))
    with scripted(source) as reader:
        frames = iter(reader)
        assert next(frames).frame_index == 0
        with pytest.raises(VideoError, match="no more pictures"):
            next(frames)


def test_a_source_that_hangs_is_an_error(scripted):
    release = threading.Event()
    source = ScriptedSource(1, before=lambda i: release.wait(5))
    with scripted(source, timeout_seconds=0.1) as reader:
        with pytest.raises(VideoError, match=r"camera 0: no picture for 0\.1 s"):
            next(iter(reader))
        release.set()


def test_a_file_too_slow_to_decode_is_played_slower(scripted):
    source = ScriptedSource(4, is_paced=True, fps=1000.0, before=lambda i: time.sleep(0.7 if i == 1 else 0))
    with scripted(source) as reader:
        first, *_, last = list(reader)
    # Seven tenths behind after one thousandth: its clock is moved, else all that follows would be late.
    assert last.grabbed_seconds - first.grabbed_seconds > 0.6


@pytest.mark.parametrize("name", ["absent.mp4", "text.mp4", "empty.mp4", "notes.txt"])
def test_what_cannot_be_opened_is_one_line(tmp_path, name):
    if name != "absent.mp4":
        (tmp_path / name).write_text("" if name == "empty.mp4" else "only words\n" * 50)
    with pytest.raises(VideoError) as caught:
        LiveReader(str(tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stream_that_nobody_serves_is_one_line():
    with pytest.raises(VideoError, match="cannot be opened") as caught:
        LiveReader("http://127.0.0.1:9/live", timeout_seconds=2.0)
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_gives_what_it_has(tmp_path):
    """As MPEG-TS, which can be played to where it was cut."""
    path = write_numbered(tmp_path / "cut.ts", "mpeg2video")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with LiveReader(str(path), drop=False) as reader:
        assert 1 < len(list(reader)) < 20


def test_a_missing_camera_is_one_line(capfd):
    with pytest.raises(VideoError, match="camera 99: cannot be opened"):
        LiveReader("99")
    assert capfd.readouterr().err == ""


def test_a_camera_gives_rgb_until_it_is_pulled_out(monkeypatch):
    import cv2

    class Capture:
        def __init__(self, number):
            self.left = 2
            self.is_released = False

        def isOpened(self):
            return True

        def set(self, name, value):
            assert (name, value) == (cv2.CAP_PROP_BUFFERSIZE, 1)

        def get(self, name):
            return 0.0

        def read(self):
            self.left -= 1
            return (True, np.array([[[1, 2, 3]]], np.uint8)) if self.left >= 0 else (False, None)

        def release(self):
            self.is_released = True

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    source = CameraSource(0)
    pictures = source.pictures()
    image, seconds = next(pictures)
    assert image.tolist() == [[[3, 2, 1]]]
    assert seconds == 0
    assert next(pictures)[1] > 0
    with pytest.raises(VideoError, match="camera 0: gives no more pictures"):
        next(pictures)
    source.close()
    assert source._capture.is_released


def test_a_stream_without_a_length_is_taken_as_it_comes(numbered_video, tmp_path):
    source = StreamSource(str(write_numbered(tmp_path / "raw.h264")), 1.0)
    assert not source.is_paced
    assert len(list(source.pictures())) == 20
    source.close()
    paced = StreamSource(str(numbered_video), 1.0)
    assert paced.is_paced
    paced.close()
