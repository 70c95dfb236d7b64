import resource
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from emotemporal.errors import OutputError, UsageError
from emotemporal.video import VideoReader, VideoWriter, probe_video, write_picture
from emotemporal.video.planes import BT709


@pytest.fixture
def write(gray_frame):
    """Return a function that writes gray frames and returns the closed writer."""

    def write_frames(path, times, *, size=(96, 64), picture=gray_frame, error=None, **settings):
        with VideoWriter(path, width=size[0], height=size[1], **settings) as writer:
            for index, seconds in enumerate(times):
                writer.write(picture(index, *size), seconds)
            if error is not None:
                raise error
        return writer

    return write_frames


def sound_span(path):
    """Return codec, begin and end of the sound in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        spans = [
            (packet.pts * stream.time_base, (packet.pts + packet.duration) * stream.time_base)
            for packet in container.demux(stream)
            if packet.pts is not None
        ]
        return stream.codec_context.codec.canonical_name, float(spans[0][0]), float(spans[-1][1])


@pytest.mark.parametrize(
    "times",
    [
        tuple(np.arange(30) / 29.97),
        (0.0, 0.013, 0.055, 0.06, 0.1, 0.3, 2.0),
        tuple(0.852 + np.arange(10) / 25),
        (0.0,),
        (3.5,),
    ],
    ids=["29.97", "variable", "late", "single", "late-single"],
)
def test_times_and_pixels_survive(tmp_path, times, write, gray_of):
    path = tmp_path / "out.mp4"
    write(path, times)
    with VideoReader(path, decoder="pyav") as reader:
        batches = list(reader)
    assert np.concatenate([b.pts_seconds for b in batches]) == pytest.approx(times, abs=1e-3)
    levels = np.concatenate([b.data for b in batches]).mean(axis=(1, 2, 3))
    assert levels == pytest.approx([gray_of(i) for i in range(len(times))], abs=3)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_colours_survive(tmp_path):
    colours = np.zeros((64, 96, 3), np.uint8)
    colours[:32, :48], colours[:32, 48:], colours[32:, :48] = (200, 30, 40), (20, 180, 60), (30, 50, 210)
    with VideoWriter(tmp_path / "out.mp4", width=96, height=64, qp=10) as writer:
        writer.write(colours, 0.0)
    with VideoReader(tmp_path / "out.mp4", decoder="pyav") as reader:
        (batch,) = list(reader)
    assert np.abs(batch.data[0, 16::32, 24::48].astype(int) - colours[16::32, 24::48]).max() <= 6


@pytest.mark.parametrize("sound", ["aac", "libmp3lame", "ac3"])
def test_sound_is_copied_in_step_with_a_late_picture(make_video, tmp_path, sound, write):
    times = tuple(0.852 + np.arange(12) / 25)
    source = make_video("source.mp4", times=times, sound=sound, sound_seconds=2.0)
    writer = write(tmp_path / "out.mp4", times, source=source)
    assert writer.warnings == []
    assert sound_span(tmp_path / "out.mp4") == pytest.approx(sound_span(source), abs=0.002)
    assert probe_video(tmp_path / "out.mp4").start_seconds == pytest.approx(0.852, abs=0.002)


def test_sound_that_mp4_cannot_hold_is_encoded_again(make_video, tmp_path, write):
    source = make_video("source.mkv", sound="pcm_s16le", sound_seconds=1.5)
    writer = write(tmp_path / "out.mp4", np.arange(12) / 25, source=source)
    codec, begin, end = sound_span(tmp_path / "out.mp4")
    assert codec == "aac"
    assert end - begin == pytest.approx(1.5, abs=0.06)
    (line,) = writer.warnings
    assert "pcm_s16le" in line


def test_source_may_be_replaced_and_may_be_silent(make_video, write):
    source = make_video()
    write(source, np.arange(5) / 25, source=source)
    info = probe_video(source)
    assert (info.num_frames, info.has_audio) == (5, False)


def test_odd_size_is_padded_by_one(tmp_path, write):
    write(tmp_path / "out.mp4", [0.0, 0.04], size=(65, 49))
    info = probe_video(tmp_path / "out.mp4")
    assert (info.width, info.height) == (66, 50)


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(3, 2)), (90, Fraction(2, 3))])
def test_shape_of_the_pixels_is_kept(make_video, tmp_path, rotation, expected, write):
    source = make_video("source.mp4", pixel_shape=Fraction(3, 2), rotation=rotation)
    write(tmp_path / "out.mp4", [0.0], source=source)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


def test_file_starts_with_its_index(make_video, tmp_path, write):
    write(tmp_path / "out.mp4", np.arange(12) / 25)
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_nothing_is_left_after_an_error(make_video, tmp_path, write):
    source = make_video("source.mp4", sound="aac")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.mp4", [0.0], source=source, error=KeyboardInterrupt())
    with pytest.raises(OutputError, match="no frame"):
        write(tmp_path / "out.mp4", [])
    assert [file.name for file in tmp_path.iterdir()] == ["source.mp4"]


def test_unwritable_folder(tmp_path, write):
    with pytest.raises(OutputError, match=r"cannot write .*out\.mp4") as caught:
        write(tmp_path / "missing" / "out.mp4", [0.0])
    assert "\n" not in str(caught.value)


def test_full_disk(tmp_path, write):
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 96, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # stands in for a full disk
    try:
        with pytest.raises(OutputError, match="cannot write"):
            write(
                tmp_path / "out.mp4",
                np.arange(64) / 25,
                qp=1,
                picture=lambda index, width, height: noise[index % 8],
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_wrong_frames(tmp_path, gray_frame):
    with VideoWriter(tmp_path / "out.mp4", width=96, height=64) as writer:
        writer.write(gray_frame(0, 96, 64), 0.0)
        with pytest.raises(UsageError, match="must be uint8"):
            writer.write(gray_frame(0, 64, 96), 0.04)
        with pytest.raises(UsageError, match="must increase"):
            writer.write(gray_frame(0, 96, 64), 0.0)


def test_planes_of_other_colours_are_refused(tmp_path):
    frame = av.VideoFrame(96, 64, "yuv420p")
    with VideoWriter(tmp_path / "out.mp4", width=96, height=64) as writer:
        writer.write_planes(frame, BT709._replace(matrix=5), 0.0)
        with pytest.raises(UsageError, match="colours must be"):
            writer.write_planes(frame, BT709, 0.04)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_picture(tmp_path, suffix):
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / f"out{suffix}", picture)
    stored = cv2.imread(str(tmp_path / f"out{suffix}"))
    assert np.abs(stored[..., ::-1].astype(int) - picture).max() <= 4
    assert len(list(tmp_path.iterdir())) == 1


def test_picture_errors(tmp_path):
    picture = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(OutputError, match="no picture format"):
        write_picture(tmp_path / "out.xyz", picture)
    with pytest.raises(OutputError, match="cannot write"):
        write_picture(tmp_path / "missing" / "out.png", picture)
