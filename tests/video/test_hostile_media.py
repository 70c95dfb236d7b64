"""Files that name others are not followed, and sizes are known before memory is taken."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from emotemporal.errors import VideoError
from emotemporal.video import VideoReader, probe_video
from emotemporal.video.live import LiveReader
from emotemporal.video.opening import MAX_PIXELS

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
LISTS = {
    "clip.m3u8": PLAYLIST.format("{video}"),
    "near.m3u8": PLAYLIST.format("{video.name}"),
    "net.m3u8": PLAYLIST.format("http://127.0.0.1:9/clip.mp4"),
    "passwd.m3u8": PLAYLIST.format("/etc/passwd"),
    "hidden.mp4": PLAYLIST.format("{video}"),
    "script.mp4": "ffconcat version 1.0\nfile {video.name}\n",
    "script.ffconcat": "ffconcat version 1.0\nfile {video.name}\n",
    "stream.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "notes.txt": "some text\n" * 100,
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_are_no_videos(make_video, name):
    video = make_video("other.mp4")
    path = video.with_name(name)
    path.write_text(LISTS[name].format(video=video))
    with pytest.raises(VideoError, match="not a video"):
        probe_video(path)
    with pytest.raises(VideoError), LiveReader(str(path), drop=False) as reader:
        list(reader)


@pytest.mark.parametrize(
    "address",
    [
        "file://{video}",
        "concat:file://{video}",
        "subfile,,start,0,end,0,,:file://{video}",
        "async:file://{video}",
        "data://text/plain,{video}",
        "crypto+file://{video}",
    ],
)
def test_addresses_do_not_lead_to_files(make_video, address):
    address = address.format(video=make_video())
    with pytest.raises(VideoError):
        probe_video(address)
    with pytest.raises(VideoError, match="expected an address of http"):
        LiveReader(address)


def test_names_that_look_like_protocols_are_files(make_video, monkeypatch):
    for name in ("concat:a|b.mp4", "12:30.mp4", "subfile,,:x.mp4"):
        video = make_video(name)
        monkeypatch.chdir(video.parent)
        assert probe_video(name).num_frames == 12


def png_of(width, height, rows=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", rows or zlib.compress(bytes(1000))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (30_000, 30_000), (8192, 4321)])
def test_a_picture_says_its_size_before_it_is_decoded(tmp_path, width, height, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(width, height))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(VideoError, match=f"more than {MAX_PIXELS} pixels"):
        probe_video(path)


def test_a_large_picture_within_the_limit_is_read(tmp_path):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.zeros((40, 8000, 3), np.uint8))
    assert probe_video(path).width == 8000


def test_a_picture_file_that_is_far_too_long_is_not_read(tmp_path):
    path = tmp_path / "long.png"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(VideoError, match="bytes, more than"):
        probe_video(path)


def test_a_video_that_claims_a_huge_picture_is_refused(make_video):
    path = make_video("claim.avi", codec="mjpeg", pixel_format="yuvj420p")
    old, new = struct.pack("<II", 160, 96), struct.pack("<II", 60_000, 60_000)
    content = path.read_bytes()
    assert old in content
    content = content.replace(old, new)
    # In every picture of Motion JPEG, too.
    content = content.replace(struct.pack(">HH", 96, 160), struct.pack(">HH", 60_000, 60_000))
    path.write_bytes(content)
    with pytest.raises(VideoError):
        probe_video(path)


@pytest.mark.parametrize("number", ["9" * 19, "9" * 200])
def test_numbered_pictures_of_absurd_numbers_end_in_one_line(tmp_path, number):
    cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(VideoError) as caught, VideoReader(tmp_path / "%d.png") as reader:
        list(reader)
    assert str(caught.value).isprintable()


def test_numbered_pictures_that_are_far_apart_cost_nothing(tmp_path):
    for number in (1, 10**9):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(VideoError, match=r"2\.png is missing"):
        probe_video(tmp_path / "%d.png")
