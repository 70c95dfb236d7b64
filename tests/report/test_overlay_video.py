"""The written overlay: frames, times, colours and sound, by way of the stored planes and of RGB."""

import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from emotemporal.errors import OutputError
from emotemporal.report.canvas import RgbCanvas, YuvCanvas
from emotemporal.report.overlay import OverlayRenderer
from emotemporal.report.overlay_video import decode_again, write_overlay
from emotemporal.report.palette import emotion_colour
from emotemporal.video.planes import BT709, Colours, NotPlain, plain_frames, planes_to_draw_on

TIME_BASE = Fraction(1, 90_000)
SIZE = (320, 240)
BOX = (120, 120, 220, 210)
BELOW = np.s_[228:, :]
"""Rows that nobody draws on."""
BT601 = 5


def colour_ramp(size: tuple[int, int]) -> np.ndarray:
    x, y = np.linspace(20, 230, size[0]), np.linspace(20, 230, size[1])
    return np.stack([*np.meshgrid(x, y), np.full(size[::-1], 128.0)], axis=-1).round().astype(np.uint8)


def write_source(
    path: Path,
    *,
    size: tuple[int, int] = SIZE,
    num_frames: int = 10,
    pixel_format: str = "yuv420p",
    matrix: int = 2,
    value_range: int = 0,
    rotation: int = 0,
    sound: bool = False,
) -> Path:
    """Write a colour ramp that stands still, at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "8", "bf": "2"})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, value_range
        context.color_primaries = context.color_trc = matrix
        if rotation:
            stream.set_display_rotation(rotation)
        voice = container.add_stream("aac", rate=44_100, layout="mono") if sound else None
        rgb = av.VideoFrame.from_ndarray(colour_ramp(size), format="rgb24")
        for index in range(num_frames):
            frame = rgb.reformat(
                format=pixel_format,
                dst_colorspace=BT601 if matrix == 2 else matrix,
                dst_color_range=value_range or 1,
            )
            frame.pts, frame.time_base = index * 3600, TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 17_640), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 44_100, 0
            container.mux(voice.encode(silence))
            container.mux(voice.encode(None))
    return path


def decode(path: Path) -> tuple[list[np.ndarray], list[float], tuple[int, ...]]:
    """Return the pictures as their tags say, their times, and the tags."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
    matrix = BT601 if tags[0] == 2 else tags[0]
    pictures = [
        frame.reformat(
            format="rgb24", src_colorspace=matrix, src_color_range=max(tags[3], 1), dst_color_range=2
        ).to_ndarray()
        for frame in frames
    ]
    return pictures, [frame.time for frame in frames], tags


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.fixture
def analysis_of(make_analysis, make_person):
    """Return a function that makes the analysis of a video with a face on its first frames."""

    def make(path: Path, *, size=SIZE, num_frames=10, num_marked=4):
        person = make_person(1, BOX, num_frames=num_marked)
        return make_analysis(person, path=str(path), size=size, num_frames=num_frames)

    return make


@pytest.mark.parametrize("matrix", [1, BT601, 2])
@pytest.mark.parametrize(
    ("pixel_format", "value_range"), [("yuv420p", 0), ("yuv420p", 1), ("yuv420p", 2), ("yuvj420p", 2)]
)
def test_planes_keep_the_colours(tmp_path, analysis_of, matrix, pixel_format, value_range) -> None:
    source = write_source(
        tmp_path / "clip.mp4", pixel_format=pixel_format, matrix=matrix, value_range=value_range
    )
    analysis = analysis_of(source)
    assert len(list(plain_frames(analysis.info, analysis.pts_seconds))) == 10
    assert write_overlay(analysis, tmp_path / "out.mp4") == []
    (given, _, tags), (drawn, times, kept_tags) = decode(source), decode(tmp_path / "out.mp4")
    assert kept_tags == tags
    assert times == pytest.approx(analysis.pts_seconds)
    for before, after in zip(given, drawn, strict=True):
        assert np.abs(before[BELOW].astype(int) - after[BELOW]).mean() < 2
        assert np.abs(before[BELOW].mean((0, 1)) - after[BELOW].mean((0, 1))).max() < 1.5
    line = drawn[0][150:180, BOX[2]]
    assert np.abs(line.mean(0) - emotion_colour("happy")).max() < 12
    # What later frames are decoded from was not drawn on.
    assert max(np.abs(given[i].astype(int) - drawn[i]).mean() for i in range(4, 10)) < 2


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((321, 239), {"pixel_format": "yuv444p"}),
        (SIZE, {"pixel_format": "yuv420p10le"}),
        (SIZE, {"rotation": 180}),
    ],
    ids=["odd", "10-bit", "turned"],
)
def test_other_videos_are_written_by_way_of_rgb(tmp_path, analysis_of, size, settings) -> None:
    source = write_source(tmp_path / "clip.mp4", size=size, sound=True, **settings)
    analysis = analysis_of(source, size=size)
    with pytest.raises(NotPlain):
        list(plain_frames(analysis.info, analysis.pts_seconds))
    assert write_overlay(analysis, tmp_path / "out.mp4") == []
    drawn, times, tags = decode(tmp_path / "out.mp4")
    assert tags[:3] == (1, 1, 1)
    assert times == pytest.approx(analysis.pts_seconds)
    expected = colour_ramp(size)[::-1, ::-1] if "rotation" in settings else colour_ramp(size)
    for picture in drawn:
        assert np.abs(picture[BELOW][:10, :320].astype(int) - expected[BELOW][:10, :320]).mean() < 4
    assert sound_of(tmp_path / "out.mp4") == sound_of(source)


def test_both_ways_give_the_same_video(tmp_path, analysis_of, monkeypatch) -> None:
    analysis = analysis_of(write_source(tmp_path / "clip.mp4", sound=True))
    write_overlay(analysis, tmp_path / "planes.mp4")

    def refuse(*_):
        raise NotPlain

    monkeypatch.setattr("emotemporal.report.overlay_video.plain_frames", refuse)
    write_overlay(analysis, tmp_path / "rgb.mp4")
    (planes, times, tags), (rgb, rgb_times, rgb_tags) = (
        decode(tmp_path / name) for name in ("planes.mp4", "rgb.mp4")
    )
    assert tags != rgb_tags
    assert times == rgb_times
    assert (
        sound_of(tmp_path / "planes.mp4") == sound_of(tmp_path / "rgb.mp4") == sound_of(tmp_path / "clip.mp4")
    )
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(planes, rgb, strict=True)) < 3


@pytest.mark.parametrize("fault", ["one frame more", "another time", "cut off"])
def test_a_file_that_has_changed_is_read_as_it_now_is(tmp_path, analysis_of, fault) -> None:
    source = write_source(tmp_path / "clip.ts" if fault == "cut off" else tmp_path / "clip.mp4")
    analysis = analysis_of(source)
    if fault == "cut off":
        source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    elif fault == "one frame more":
        write_source(source, num_frames=11)
    else:
        analysis.pts_seconds[7] += 0.01
    with pytest.raises(NotPlain):
        list(plain_frames(analysis.info, analysis.pts_seconds))
    write_overlay(analysis, tmp_path / "out.mp4")
    assert decode(tmp_path / "out.mp4")[1] == pytest.approx(decode(source)[1])
    assert len(list(tmp_path.iterdir())) == 2


def test_decoded_beforehand_it_is_the_same_video(tmp_path, analysis_of) -> None:
    analysis = analysis_of(write_source(tmp_path / "clip.mp4", num_frames=30, sound=True))
    write_overlay(analysis, tmp_path / "at_once.mp4")
    with decode_again(analysis) as decoded:
        write_overlay(analysis, tmp_path / "beforehand.mp4", decoded=decoded)
    assert (tmp_path / "beforehand.mp4").read_bytes() == (tmp_path / "at_once.mp4").read_bytes()


def test_an_overlay_that_cannot_be_written_leaves_no_thread(tmp_path, analysis_of) -> None:
    analysis = analysis_of(write_source(tmp_path / "clip.mp4", num_frames=30))
    with decode_again(analysis) as decoded, pytest.raises(OutputError):
        write_overlay(analysis, tmp_path / "missing" / "out.mp4", decoded=decoded)
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@pytest.mark.parametrize("colours", [BT709, BT709._replace(value_range=2), Colours("yuv420p", BT601, 5, 5)])
@pytest.mark.parametrize("size", [(2, 2), (64, 48), (400, 20), (640, 360), (1920, 1080)])
def test_both_canvases_are_painted_alike(make_analysis, make_person, size, colours) -> None:
    boxes = [(0.2, 0.3, 0.41, 0.6), (0.6, 0.31, 0.95, 1.1)]
    people = [make_person(i, tuple(np.array(box) * (size * 2)), status=2 * i) for i, box in enumerate(boxes)]
    analysis = make_analysis(*people, size=size)
    picture = np.full((size[1], size[0], 3), 150, np.uint8)
    OverlayRenderer(analysis).draw_on(lambda: RgbCanvas(picture), 0)
    expected = picture @ colours.matrix_from_rgb()[:, :3].T + colours.matrix_from_rgb()[:, 3]
    gray = colours.matrix_from_rgb() @ [150, 150, 150, 1]
    frame = av.VideoFrame(*size, "yuv420p")
    planes = planes_to_draw_on(frame)
    for plane, level in zip(planes, gray, strict=True):
        plane[:] = round(level)
    OverlayRenderer(analysis).draw_on(lambda: YuvCanvas(frame, colours), 0)
    assert np.abs(planes[0] - expected[..., 0]).max() <= 2
    for plane, channel in zip(planes[1:], (1, 2), strict=True):
        halved = expected[..., channel].reshape(size[1] // 2, 2, size[0] // 2, 2)
        # Lines cover whole places of the halved planes, so there is more colour than on average.
        assert (plane >= halved.min((1, 3)) - 50).all()
        inside = np.ptp(halved, axis=(1, 3)) < 1
        clear = inside & (np.abs(halved.mean((1, 3)) - gray[channel]) > 3)
        assert np.abs(plane - halved.mean((1, 3)))[clear].max(initial=0) <= 2
