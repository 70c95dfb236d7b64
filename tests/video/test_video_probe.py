import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from emotemporal.errors import VideoError
from emotemporal.video import VideoReader, probe_video
from emotemporal.video.probe import inspect_video


def test_constant_rate_file_with_sound(make_video):
    info = probe_video(make_video(sound="aac"))
    assert (info.width, info.height, info.num_frames) == (160, 96, 12)
    assert info.average_fps == pytest.approx(25)
    assert info.duration_seconds == pytest.approx(12 / 25, abs=1e-3)
    assert info.start_seconds == 0.0
    assert info.has_audio
    assert not info.variable_frame_rate
    assert not info.is_still


def test_only_the_ordinary_file_is_trusted_to_decord(make_video):
    late = tuple(0.852 + np.arange(12) / 25)
    uneven = tuple(np.cumsum([0.04, 0.013, 0.04, 0.02]))
    assert inspect_video(make_video()).decord_doubt is None
    assert "0.852" in inspect_video(make_video("late.mp4", times=late)).decord_doubt
    assert "variable" in inspect_video(make_video("uneven.mp4", times=uneven)).decord_doubt
    assert "turned" in inspect_video(make_video("turned.mp4", rotation=180)).decord_doubt
    assert "container" in inspect_video(make_video("other.avi", codec="mpeg4")).decord_doubt
    assert "narrower" in inspect_video(make_video("narrow.mp4", size=(96, 64))).decord_doubt
    assert "codec" in inspect_video(make_video("other.mp4", codec="mpeg4")).decord_doubt


def test_variable_rate_and_late_start(make_video):
    info = probe_video(make_video(times=(0.852, 0.9, 1.0, 1.013)))
    assert info.variable_frame_rate
    assert info.start_seconds == pytest.approx(0.852, abs=1e-4)
    assert info.num_frames == 4


@pytest.mark.parametrize(("rotation", "clockwise"), [(90, 270), (180, 180), (-90, 90)])
def test_size_is_that_of_the_upright_picture(make_video, rotation, clockwise):
    info = probe_video(make_video(rotation=rotation))
    assert info.rotation_degrees == clockwise
    assert (info.width, info.height) == ((96, 160) if rotation % 180 else (160, 96))


def _jpeg_with_orientation(picture, orientation):
    stored = cv2.imencode(".jpg", picture)[1].tobytes()
    directory = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + directory
    return stored[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + stored[2:]


def test_picture_is_a_clip_of_one_upright_frame(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40] = (0, 0, 255)  # BGR: the left half is red
    path = tmp_path / "turned.jpg"
    path.write_bytes(_jpeg_with_orientation(picture, 6))  # stored lying, to be turned clockwise
    info = probe_video(path)
    assert (info.width, info.height, info.num_frames, info.is_still) == (40, 80, 1, True)
    with VideoReader(path) as reader:
        (batch,) = list(reader)
    assert reader.decoder == "picture"
    assert batch.pts_seconds.tolist() == [0.0]
    assert batch.data[0, 10, 20].tolist() == pytest.approx([254, 0, 0], abs=6)
    assert batch.data[0, 70, 20].tolist() == pytest.approx([0, 0, 0], abs=6)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
def test_other_pictures(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    cv2.imwrite(str(path), np.full((30, 50, 3), 77, np.uint8))
    with VideoReader(path) as reader:
        (batch,) = list(reader)
    assert batch.data.shape == (1, 30, 50, 3)
    assert batch.data.mean() == pytest.approx(77, abs=1)


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:200])
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "no such file"),
        ("missing.png", None, "no such file"),
        ("empty.mp4", b"", "empty file"),
        ("text.mp4", b"hello, this is no video\n" * 40, "not a video"),
        ("text.txt", b"hello, this is no video\n" * 40, "text"),
        ("broken.jpg", b"\xff\xd8\xff\xe0 nothing", "not a readable picture"),
    ],
)
def test_unusable_files_are_one_line_errors(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for use in (probe_video, VideoReader):
        with pytest.raises(VideoError, match=message) as caught:
            use(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_folder_sound_and_stump_are_errors(tmp_path, sound_only, make_video):
    with pytest.raises(VideoError, match="a folder"):
        probe_video(tmp_path)
    with pytest.raises(VideoError, match="only sound"):
        probe_video(sound_only)
    with pytest.raises(VideoError, match="beyond use"):
        probe_video(_cut_short(make_video()))


def test_decoding_process_stays_light():
    code = "import sys, emotemporal.video.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "cv2", "pandas", "decord"} & set(loaded.split())
