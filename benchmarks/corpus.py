"""Small files of every kind that the reader meets, each with what is to come of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from corpus_writing import (
    RATE,
    TIMES,
    write_animation,
    write_gap,
    write_hidden_start,
    write_joined,
    write_sequence,
    write_sound_only,
    write_still,
    write_text,
    write_video,
)


@dataclass(frozen=True)
class Case:
    """One file, or what stands for one."""

    name: str
    file: str
    """Its path within the folder of the corpus."""
    write: Callable[[Path], None]
    num_frames: int = len(TIMES)
    """Frames that were written and are meant to be shown."""
    refusal: str | None = None
    """What the one-line error says of a file that cannot be read; None where it can."""
    warning: str | None = None
    """What one of the reader's warnings must say."""
    sound_warning: str | None = None
    """What one of the overlay's warnings must say."""
    served: bool = False
    """Read over http from a server of this machine."""

    def make(self, folder: Path) -> Path:
        """Write the file and return its path."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(path)
        return path


def _video(name: str, file: str, *, expect: dict | None = None, **settings: object) -> Case:
    num_frames = len(settings.get("times", TIMES))
    return Case(
        name,
        f"{name}/{file}",
        partial(write_video, **settings),
        **{"num_frames": num_frames} | (expect or {}),
    )


def _uneven_times(count: int) -> tuple[float, ...]:
    steps = random.Random(0).choices((0.013, 0.033, 0.04, 0.1, 0.5), k=count)
    return tuple(float(seconds) for seconds in np.cumsum(steps) - steps[0])


_FRAME = Fraction(1, RATE)
_TEN_BIT = "yuv420p10le"
_ROTATIONS = (90, 180, -90)
_COUNTED = {"clock": _FRAME}
_RE_ENCODED = {"sound_warning": "encoded again as AAC"}

CASES = (
    # Codecs and containers.
    _video("h264_mp4", "clip.mp4"),
    _video("h264_mov", "clip.mov"),
    _video("h264_mkv", "clip.mkv"),
    _video("h264_ts", "clip.ts"),
    _video("h264_flv", "clip.flv"),
    _video("h264_nut", "clip.nut"),
    _video("h264_avi", "clip.avi", options={"bf": "0"}, **_COUNTED),
    _video("h264_fragments", "clip.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    _video("h264_bare", "clip.h264"),
    _video("h264_b_pyramid", "clip.mp4", options={"bf": "3", "b-pyramid": "normal", "b_strategy": "0"}),
    _video("h264_open_gop", "clip.mp4", options={"bf": "3", "g": "6", "x264-params": "open-gop=1"}),
    _video("h264_444", "clip.mp4", pixel_format="yuv444p"),
    _video("h264_gray", "clip.mp4", pixel_format="gray"),
    _video("h264_10bit", "clip.mp4", pixel_format=_TEN_BIT),
    _video("h264_full_range", "clip.mp4", pixel_format="yuvj420p", full_range=True),
    _video("hevc_mp4", "clip.mp4", codec="libx265"),
    _video("hevc_10bit_mkv", "clip.mkv", codec="libx265", pixel_format=_TEN_BIT),
    _video("hevc_full_range", "clip.mp4", codec="libx265", full_range=True),
    _video("hevc_bare", "clip.hevc", codec="libx265"),
    _video("vp8_webm", "clip.webm", codec="libvpx", clock=Fraction(1, 1000)),
    _video("vp9_webm", "clip.webm", codec="libvpx-vp9", clock=Fraction(1, 1000)),
    _video("av1_mp4", "clip.mp4", codec="libsvtav1"),
    _video("av1_10bit_webm", "clip.webm", codec="libsvtav1", pixel_format=_TEN_BIT),
    _video("av1_ivf", "clip.ivf", codec="libsvtav1"),
    _video("mpeg1_mpg", "clip.mpg", codec="mpeg1video", **_COUNTED),
    _video("mpeg2_mpg", "clip.mpg", codec="mpeg2video", **_COUNTED),
    _video("mpeg2_mxf", "clip.mxf", codec="mpeg2video", **_COUNTED),
    _video("mpeg4_avi", "clip.avi", codec="mpeg4", **_COUNTED),
    _video("mpeg4_b_frames_avi", "clip.avi", codec="mpeg4", options={"bf": "2"}, **_COUNTED),
    _video("mpeg4_bare", "clip.m4v", codec="mpeg4", container="m4v", **_COUNTED),
    _video("mjpeg_avi", "clip.avi", codec="mjpeg", pixel_format="yuvj420p", **_COUNTED),
    _video("mjpeg_mov", "clip.mov", codec="mjpeg", pixel_format="yuvj420p"),
    _video("mjpeg_bare", "clip.mjpeg", codec="mjpeg", pixel_format="yuvj420p", **_COUNTED),
    _video("prores_mov", "clip.mov", codec="prores_ks", pixel_format="yuv422p10le"),
    _video("prores_alpha", "clip.mov", codec="prores_ks", pixel_format="yuva444p10le"),
    _video(
        "dnxhr_mov",
        "clip.mov",
        codec="dnxhd",
        pixel_format="yuv422p",
        options={"profile": "dnxhr_lb"},
        size=(320, 192),
    ),
    _video("ffv1_mkv", "clip.mkv", codec="ffv1"),
    _video("huffyuv_avi", "clip.avi", codec="huffyuv", pixel_format="yuv422p", **_COUNTED),
    _video("png_mov", "clip.mov", codec="png", pixel_format="rgb24"),
    _video("raw_avi", "clip.avi", codec="rawvideo", **_COUNTED),
    _video("raw_y4m", "clip.y4m", codec="rawvideo", container="yuv4mpegpipe", **_COUNTED),
    _video("wmv2_wmv", "clip.wmv", codec="wmv2", clock=Fraction(1, 1000)),
    _video("sorenson_flv", "clip.flv", codec="flv", **_COUNTED),
    _video("h263_3gp", "clip.3gp", codec="h263", size=(176, 144), **_COUNTED),
    _video("gif", "clip.gif", codec="gif", pixel_format="rgb8", clock=Fraction(1, 100)),
    _video("apng", "clip.apng", codec="apng", pixel_format="rgb24", **_COUNTED),
    _video("apng_named_png", "clip.png", codec="apng", pixel_format="rgb24", container="apng", **_COUNTED),
    Case("animated_webp", "animated_webp/clip.webp", write_animation, refusal="animated"),
    # Sizes and shapes.
    _video("size_16x16", "clip.mp4", size=(16, 16)),
    _video("size_odd_mkv", "clip.mkv", codec="ffv1", pixel_format="bgr0", size=(65, 49)),
    _video("size_odd_webm", "clip.webm", codec="libvpx", size=(131, 97), clock=Fraction(1, 1000)),
    _video("size_odd_h264", "clip.mp4", pixel_format="yuv444p", size=(161, 97)),
    _video("size_1080p", "clip.mp4", size=(1920, 1080), times=TIMES[:3], options={"preset": "ultrafast"}),
    _video("size_4k", "clip.mp4", size=(3840, 2160), times=TIMES[:2], options={"preset": "ultrafast"}),
    _video("size_tall", "clip.mp4", size=(16, 1024), times=TIMES[:3]),
    *(_video(f"rotation_{turn}", "clip.mp4", rotation=turn) for turn in _ROTATIONS),
    _video("rotation_mkv", "clip.mkv", rotation=90),
    _video("rotation_10bit", "clip.mp4", codec="libx265", pixel_format=_TEN_BIT, rotation=180),
    _video("pixels_wide", "clip.mp4", pixel_shape=Fraction(16, 11)),
    _video(
        "pixels_narrow_mpg",
        "clip.mpg",
        codec="mpeg2video",
        size=(176, 144),
        pixel_shape=Fraction(12, 11),
        **_COUNTED,
    ),
    _video("pixels_wide_turned", "clip.mp4", pixel_shape=Fraction(2, 1), rotation=90),
    _video(
        "interlaced_mpeg2",
        "clip.ts",
        codec="mpeg2video",
        options={"flags": "+ildct+ilme", "top": "1"},
        **_COUNTED,
    ),
    _video("interlaced_h264", "clip.mp4", options={"x264-params": "tff=1"}),
    _video("interlaced_dv", "clip.avi", codec="dvvideo", size=(720, 576), **_COUNTED),
    Case("two_sizes_ts", "two_sizes_ts/clip.ts", write_joined, 2 * len(TIMES), warning="were rescaled"),
    # Times.
    _video("variable_rate_mp4", "clip.mp4", times=_uneven_times(20)),
    _video("variable_rate_mkv", "clip.mkv", times=_uneven_times(20)),
    _video(
        "variable_rate_webm", "clip.webm", codec="libvpx", times=_uneven_times(20), clock=Fraction(1, 1000)
    ),
    _video("rate_29.97", "clip.mp4", times=tuple(i * 1001 / 30000 for i in range(30))),
    _video("rate_1000", "clip.mkv", times=tuple(i / 1000 for i in range(30))),
    _video("rate_slow", "clip.mp4", times=(0.0, 10.0, 20.0, 30.0)),
    _video("late_first_frame", "clip.mp4", times=tuple(0.852 + t for t in TIMES)),
    _video("late_first_frame_mkv", "clip.mkv", times=tuple(5.0 + t for t in TIMES)),
    _video("far_times_ts", "clip.ts", times=tuple(20_000.0 + t for t in TIMES)),
    Case("edit_list", "edit_list/clip.mp4", write_hidden_start, len(TIMES) - 4),
    _video(
        "negative_times_mkv",
        "clip.mkv",
        times=tuple(t - 0.2 for t in TIMES),
        container_options={"avoid_negative_ts": "disabled"},
    ),
    _video("negative_times_ts", "clip.ts", times=tuple(t - 0.2 for t in TIMES)),
    _video("one_frame", "clip.mp4", times=(0.0,)),
    _video("one_late_frame", "clip.mkv", times=(3.5,)),
    _video(
        "many_tiny_frames",
        "clip.mp4",
        size=(16, 16),
        times=tuple(i / RATE for i in range(3000)),
        options={"preset": "ultrafast"},
    ),
    # Sound and other streams.
    _video("sound_aac", "clip.mp4", sound="aac"),
    _video("sound_longer", "clip.mp4", sound="aac", sound_seconds=3.0),
    _video("sound_shorter", "clip.mp4", sound="aac", sound_seconds=0.1),
    _video("sound_late", "clip.mkv", sound="aac", sound_start=0.3),
    _video("sound_mp3_avi", "clip.avi", codec="mpeg4", sound="libmp3lame", sound_seconds=1.0, **_COUNTED),
    _video("sound_mp2_mpg", "clip.mpg", codec="mpeg1video", sound="mp2", **_COUNTED),
    _video("sound_ac3_ts", "clip.ts", sound="ac3"),
    _video("sound_alac_mov", "clip.mov", sound="alac"),
    _video("sound_opus_webm", "clip.webm", codec="libvpx", sound="libopus", clock=Fraction(1, 1000)),
    _video("sound_vorbis_mkv", "clip.mkv", sound="vorbis", expect=_RE_ENCODED),
    _video("sound_flac_mkv", "clip.mkv", sound="flac", expect=_RE_ENCODED),
    _video(
        "sound_pcm_avi",
        "clip.avi",
        codec="mjpeg",
        pixel_format="yuvj420p",
        sound="pcm_s16le",
        expect=_RE_ENCODED,
        **_COUNTED,
    ),
    _video(
        "sound_wma_wmv", "clip.wmv", codec="wmv2", sound="wmav2", expect=_RE_ENCODED, clock=Fraction(1, 1000)
    ),
    _video("two_video_streams", "clip.mp4", num_streams=2, expect={"warning": "more than one video stream"}),
    _video("subtitles_mp4", "clip.mp4", subtitles="mov_text", sound="aac"),
    _video("subtitles_mkv", "clip.mkv", subtitles="subrip", sound="aac"),
    _video("cover_after", "clip.mp4", cover_first=False),
    _video("cover_before", "clip.mp4", cover_first=True),
    Case("sound_only", "sound_only/clip.m4a", write_sound_only, refusal="only sound"),
    Case(
        "sound_with_cover",
        "sound_with_cover/clip.mp4",
        partial(write_sound_only, cover=True),
        refusal="only sound",
    ),
    Case("text", "text/clip.mp4", write_text, refusal="not a video"),
    # Pictures.
    *(Case(f"still_{kind}", f"still_{kind}/one.{kind}", write_still, 1) for kind in ("png", "jpg", "webp")),
    Case("sequence", "sequence/%05d.png", write_sequence),
    Case("sequence_jpg_from_100", "sequence 100%/frame-%d.jpg", partial(write_sequence, first=100)),
    Case("sequence_of_one", "sequence_of_one/%03d.bmp", partial(write_sequence, first=7, num_frames=1), 1),
    Case("sequence_gap", "sequence_gap/%d.png", write_gap, refusal="3.png is missing"),
    Case("sequence_missing", "sequence_missing/%05d.png", lambda path: None, refusal="no such file"),
    # Names and addresses.
    _video("path_spaces", "a clip of mine.mp4"),
    _video("path_unicode", "été 映像 🙂.mp4"),
    _video("path_dash", "-clip.mp4"),
    _video("path_colon", "12:30.mp4"),
    _video("path_percent", "100%05d.mp4"),
    _video("path_quotes", "it's \"mine\" 'too'\n.mp4"),
    _video("path_not_utf8", "b\udcff.mp4"),
    Case(
        "http",
        "http/clip.mp4",
        partial(write_video, sound="aac", container_options={"movflags": "faststart"}),
        served=True,
    ),
    Case("http_missing", "http_missing/none.mp4", lambda path: None, refusal="cannot be opened", served=True),
)


def decode_truth(place: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the times that a file's frames have by one thread of FFmpeg, and by its packets alone.

    Returns:
        float64 (N,) and (M,), sorted as the frames and packets are shown; NaN at the end where unknown.
    """
    found = []
    for way in ("decode", "demux"):
        with av.open(place) as container:
            stream = next(s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
            stream.codec_context.thread_count = 1
            items = getattr(container, way)(stream)
            shown = (i for i in items if way == "decode" or (i.size and not i.is_discard))
            times = [np.nan if i.pts is None else float(i.pts * i.time_base) for i in shown]
        found.append(np.sort(np.array(times)))
    return found[0], found[1]
