"""Files of every kind, written anew: what is read of each is held against the file itself."""

import av
import pytest
from corpus import CASES
from file_corpus import check_case, serve

from emotemporal.errors import VideoError
from emotemporal.video import VideoReader, VideoWriter
from emotemporal.video.opening import is_sequence

OVERLAYS = {
    "h264_10bit",
    "size_odd_webm",
    "pixels_wide_turned",
    "variable_rate_mkv",
    "negative_times_mkv",
    "sound_longer",
    "sound_vorbis_mkv",
    "cover_before",
    "sequence",
    "http",
}
"""What also has its overlay written: a case of each way in which it can differ from its source."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_frame_is_read_at_its_time(case, tmp_path):
    verdict = check_case(case, tmp_path, overlay=case.name in OVERLAYS)
    assert verdict.faults == ()


def test_the_corpus_is_what_it_says(tmp_path):
    cases = {case.name: case for case in CASES}
    assert len(cases) == len(CASES) > 60
    seen = {}
    for name in ("h264_10bit", "hevc_full_range", "interlaced_h264", "rotation_90", "pixels_wide"):
        with av.open(str(cases[name].make(tmp_path))) as container:
            frame = next(container.decode(video=0))
            shape = container.streams.video[0].sample_aspect_ratio
        seen[name] = (
            frame.format.name,
            int(frame.color_range),
            frame.interlaced_frame,
            frame.rotation,
            shape,
        )
    assert seen["h264_10bit"][0] == "yuv420p10le"
    assert seen["hevc_full_range"][1] == 2
    assert seen["interlaced_h264"][2]
    assert seen["rotation_90"][3] == 90
    assert seen["pixels_wide"][4] == pytest.approx(16 / 11)


def test_a_file_of_that_very_name_is_no_sequence(tmp_path, make_video):
    assert is_sequence(tmp_path / "%05d.png")
    assert not is_sequence(tmp_path / "100%.png")
    assert not is_sequence(make_video("%05d.mp4"))


def test_a_path_that_begins_with_a_dash(make_video, monkeypatch):
    monkeypatch.chdir(make_video("-clip.mp4").parent)
    with VideoReader("-clip.mp4") as reader:
        assert sum(map(len, reader)) == 12


@pytest.mark.parametrize("address", ["rtsp://127.0.0.1:1/x", "pipe://0"])
def test_streams_without_an_end_are_for_live(address):
    with pytest.raises(VideoError, match="emotemporal live"):
        VideoReader(address)


def test_what_is_served_but_is_no_video(tmp_path):
    (tmp_path / "page.html").write_text("<html>no video</html>" * 40)
    with serve(tmp_path) as address, pytest.raises(VideoError, match="cannot be opened"):
        VideoReader(f"{address}/page.html")


def test_frames_before_time_zero_are_kept(tmp_path, gray_frame):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48) as writer:
        for index in range(8):
            writer.write(gray_frame(index, 64, 48), index / 25 - 0.2)
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times == pytest.approx([index / 25 for index in range(8)], abs=1e-3)
