import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from emotemporal.errors import UsageError, VideoError
from emotemporal.video import VideoReader
from emotemporal.video.decoders import DECODERS
from emotemporal.video.ring import RingShape

TIMES = np.arange(12) / 25


def read(path, **settings):
    with VideoReader(path, **settings) as reader:
        batches = list(reader)
    return reader, batches


@pytest.fixture
def assert_frames(gray_of):
    """Return a check that frames are those of `make_video`, in order, with their times."""

    def check(batches, times):
        levels = np.concatenate([batch.data for batch in batches]).mean(axis=(1, 2, 3))
        assert np.concatenate([b.frame_index for b in batches]).tolist() == list(range(len(times)))
        assert np.concatenate([b.pts_seconds for b in batches]) == pytest.approx(times, abs=1e-4)
        assert levels == pytest.approx([gray_of(i) for i in range(len(times))], abs=3)

    return check


@pytest.fixture
def misbehaving(monkeypatch):
    """Return a function that puts a scripted decoder in the place of a real one."""

    monkeypatch.syspath_prepend(Path(__file__).parent)  # handed on to the child process

    def replace(function, decoder="decord"):
        monkeypatch.setitem(DECODERS, decoder, f"scripted_decoders:{function}")

    return replace


@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
def test_frames_come_in_order_with_their_times(assert_frames, make_video, decoder):
    reader, batches = read(make_video(), decoder=decoder, batch_size=5)
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert_frames(batches, TIMES)
    assert reader.decoder == ("decord" if decoder == "auto" else decoder)
    assert reader.warnings == []


def test_both_decoders_give_the_same_pixels(make_video):
    noise = np.random.default_rng(0).integers(0, 255, (12, 96, 160, 3), dtype=np.uint8)
    path = make_video(picture=lambda index, width, height: noise[index])
    (decord,), (pyav,) = (read(path, decoder=name)[1] for name in ("decord", "pyav"))
    assert np.abs(decord.data.astype(int) - pyav.data).mean() < 0.5


@pytest.mark.parametrize(
    "times",
    [
        tuple(0.852 + TIMES),
        (0.0, 0.013, 0.055, 0.06, 0.1, 0.3, 2.0),
        (0.0,),
    ],
    ids=["late", "variable", "single"],
)
def test_times_are_those_of_the_file(assert_frames, make_video, times):
    reader, batches = read(make_video(times=times))
    assert_frames(batches, times)
    assert reader.info.num_frames == len(times)


@pytest.mark.parametrize(
    ("rotation", "upright"),
    [(90, [[0, 0], [1, 0]]), (180, [[0, 0], [0, 1]]), (-90, [[0, 1], [0, 0]])],
)
def test_turned_picture_comes_upright(make_video, rotation, upright):
    def with_bright_top_left(index, width, height):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[: height // 2, : width // 2] = 255
        return picture

    _, (batch, *_) = read(make_video(rotation=rotation, picture=with_bright_top_left))
    height, width = batch.data.shape[1:3]
    quarters = batch.data[0, height // 4 :: height // 2, width // 4 :: width // 2, 0] > 128
    assert quarters.tolist() == upright


def test_odd_size(make_video):
    reader, batches = read(make_video("odd.mkv", codec="ffv1", pixel_format="bgr0", size=(65, 49)))
    assert batches[0].data.shape == (12, 49, 65, 3)
    assert reader.decoder == "pyav"
    assert any("decord" in line for line in reader.warnings)


def test_joined_file_of_two_sizes_keeps_every_frame(make_video, tmp_path):
    first, second = (make_video(f"{size[0]}.ts", size=size) for size in ((160, 96), (96, 64)))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    reader, batches = read(joined)
    seconds = np.concatenate([batch.pts_seconds for batch in batches])
    assert len(seconds) == 24
    assert {batch.data.shape[1:] for batch in batches} == {(96, 160, 3)}
    assert any("12 frames were rescaled" in line for line in reader.warnings)
    assert seconds[-1] - seconds[0] == pytest.approx(23 / 25, abs=0.05)


def test_cut_off_file_gives_what_decodes(make_video):
    noise = np.random.default_rng(0).integers(0, 255, (12, 96, 160, 3), dtype=np.uint8)
    path = make_video(
        picture=lambda index, width, height: noise[index], container_options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    expected = 0
    with av.open(str(path)) as container:
        try:
            for _ in container.decode(video=0):
                expected += 1
        except av.FFmpegError:
            pass
    reader, batches = read(path)
    assert 0 < sum(len(batch) for batch in batches) == expected < 12
    assert any(f"{expected} decode" in line for line in reader.warnings)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("die", "SIGKILL"),
        ("fail", "broken in two lines"),
        ("lie_about_times", "for frame 7"),
        ("give_nan_times", "nan s for frame 0"),
        ("invent_frames", "more than the 12 frames"),
        ("lose_frames", "9 of 12 frames"),
        ("no_such_function", "no_such_function"),
    ],
)
def test_failing_decoder_is_replaced_without_losing_a_frame(
    assert_frames, make_video, misbehaving, function, reason
):
    misbehaving(function)
    reader, batches = read(make_video(), batch_size=4)
    assert_frames(batches, TIMES)
    assert reader.decoder == "pyav"
    (line,) = reader.warnings
    assert "replaced by PyAV" in line
    assert reason in line


def test_hanging_decoder_is_replaced(assert_frames, make_video, misbehaving):
    misbehaving("hang")
    reader, batches = read(make_video(), timeout_seconds=2.0)
    assert_frames(batches, TIMES)
    assert "no frame within 2 s" in reader.warnings[0]


@pytest.mark.parametrize("function", ["fail", "die"])
def test_no_decoder_left_is_an_error_that_names_the_file(make_video, misbehaving, function):
    misbehaving(function, decoder="pyav")
    with pytest.raises(VideoError, match=r"clip\.mp4: cannot be decoded beyond frame") as caught:
        read(make_video(), decoder="pyav")
    assert "\n" not in str(caught.value)


def test_repeated_and_missing_times_are_repaired_and_told(assert_frames, make_video, misbehaving):
    misbehaving("repeat_times", decoder="pyav")
    reader, batches = read(make_video(), decoder="pyav")
    expected = TIMES.copy()
    expected[4] = 3 / 25 + 0.001
    assert_frames(batches, expected)
    assert len(reader.warnings) == 2


def test_batches_own_their_memory(assert_frames, make_video):
    with VideoReader(make_video(times=tuple(np.arange(60) / 25)), batch_size=3, prefetch=1) as reader:
        batches = list(reader)
    assert_frames(batches, np.arange(60) / 25)


def _gone(process_id):
    for _ in range(100):
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_nothing_is_left_behind_by_an_error(make_video):
    reader = VideoReader(make_video(times=tuple(np.arange(200) / 25)), batch_size=2)
    before = set(os.listdir("/proc/self/fd"))

    def interrupted():
        with reader:
            for _ in reader:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("way", ["break", "unused", "forgotten"])
def test_nothing_is_left_behind(make_video, way):
    reader = VideoReader(make_video(times=tuple(np.arange(200) / 25)), batch_size=2)
    before = set(os.listdir("/proc/self/fd"))
    if way == "forgotten":
        frames = iter(reader)
        next(frames)
        process_id = reader._child.process_id
        del reader, frames
    else:
        with reader:
            process_id = reader._child.process_id
            if way == "break":
                for _ in reader:
                    break
    assert _gone(process_id)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_one_process_decodes_several_files(assert_frames, make_video):
    readers = [VideoReader(make_video(f"{number}.mp4")) for number in range(3)]
    served = []
    for reader in readers:
        with reader:
            served.append(reader._child.process_id)
            assert_frames(list(reader), TIMES)
    assert served == served[:1] * 3


def test_a_process_that_died_while_idle_is_replaced(assert_frames, make_video):
    with VideoReader(make_video()) as reader:
        before = reader._child.process_id
        list(reader)
    os.kill(before, signal.SIGKILL)
    assert _gone(before)
    again, batches = read(make_video())
    assert_frames(batches, TIMES)
    assert again.warnings == []


def test_two_readers_at_once_have_a_process_each(assert_frames, make_video):
    path = make_video()
    with VideoReader(path) as one, VideoReader(path) as other:
        assert one._child.process_id != other._child.process_id
        for batch, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(batch.data, same.data)


def test_child_does_not_outlive_a_killed_parent(make_video):
    path = make_video(times=tuple(np.arange(400) / 25))
    code = (
        "import os, signal, sys, time\n"
        "from emotemporal.video import VideoReader\n"
        "reader = VideoReader(sys.argv[1], batch_size=2)\n"
        "frames = iter(reader)\n"
        "next(frames)\n"
        "print(reader._child.process_id, flush=True)\n"
        "time.sleep(0.5)\n"  # the ring is full by now and the child has stopped itself
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert _gone(int(done.stdout))


def test_memory_of_the_ring_is_bounded():
    for height, width in ((144, 176), (1080, 1920), (2160, 3840)):
        ring = RingShape.fit(height=height, width=width, max_frames=48)
        assert 4 <= ring.num_slots * ring.slot_frames <= 48
        assert ring.num_slots >= 2
        assert ring.num_bytes <= 128 << 20
    assert RingShape.fit(height=8, width=8, max_frames=1).num_slots >= 2


def test_ring_without_memfd(assert_frames, make_video, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    _, batches = read(make_video())
    assert_frames(batches, TIMES)


def test_wrong_use(make_video):
    path = make_video()
    with pytest.raises(UsageError, match="decoder"):
        VideoReader(path, decoder="opencv")
    with pytest.raises(UsageError, match="batch_size"):
        VideoReader(path, batch_size=0)
    with VideoReader(path) as reader:
        list(reader)
        with pytest.raises(UsageError, match="once"):
            list(reader)


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("name", "num_frames", "decoder"),
    [
        ("single_face.mp4", 72, "decord"),
        ("no_face.mp4", 95, "pyav"),
        ("occluded_action.avi", 164, "pyav"),
        ("stage_two_faces.mp4", 275, "pyav"),
        ("mpeg1_360x288.mpg", 75, "pyav"),
    ],
)
def test_hard_clips(clips, name, num_frames, decoder):
    with av.open(str(clips / name)) as container:
        stream = container.streams.video[0]
        expected = sorted(float(frame.pts * stream.time_base) for frame in container.decode(stream))
    reader, batches = read(clips / name)
    seconds = np.concatenate([batch.pts_seconds for batch in batches])
    assert len(seconds) == num_frames == len(expected)
    assert seconds == pytest.approx(expected, abs=1e-3)
    assert reader.decoder == decoder
