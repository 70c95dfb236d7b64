"""Damaged files: whatever is in them, the reader ends with frames or one line, in time and memory."""

import contextlib
import struct
import time

import av
import numpy as np
import pytest
from corpus import CASES
from damage import DAMAGES, NUM_CUTS, cut
from fuzz_reader import Fuzzer, damaged_files, read_damaged

from emotemporal.errors import VideoError
from emotemporal.video import VideoReader, VideoWriter
from emotemporal.video import decoders as decoders_module

SECONDS = 45.0


@pytest.mark.slow
def test_damaged_files_are_borne(tmp_path):
    deadline = time.monotonic() + SECONDS
    with Fuzzer() as fuzzer:
        for name, file in damaged_files(tmp_path, range(NUM_CUTS)):
            fuzzer.run(name, file)
            if time.monotonic() > deadline:
                break
    assert fuzzer.faults == []
    # Damage that leaves everything whole, or nothing to read, would prove little.
    assert min(fuzzer.outcomes[kind] for kind in ("whole", "warned", "refused")) > 5


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash"),
        ("import time; time.sleep(60)", "hang"),
        ("held = b'x' * (64 << 20); import time; time.sleep(60)", "memory"),
    ],
)
def test_the_fuzzer_sees_crashes_hangs_and_memory(tmp_path, monkeypatch, code, kind):
    worker = tmp_path / "worker.py"
    worker.write_text(f"print('ready', flush=True)\ninput()\n{code}\n")
    monkeypatch.setattr("fuzz_reader.__file__", str(worker))
    monkeypatch.setattr("fuzz_reader._LIMIT_SECONDS", 1.0)
    monkeypatch.setattr("fuzz_reader.MEMORY_BOUND_BYTES", 48 << 20)
    with Fuzzer(keep=tmp_path / "kept") as fuzzer:
        fuzzer.run("bad", worker)
    (fault,) = fuzzer.faults
    assert fault.startswith(f"bad: {kind}")
    assert (tmp_path / "kept" / "bad.py").exists()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_seed_always_does_the_same_damage(kind):
    content = bytes(range(256)) * 40
    damaged = DAMAGES[kind](content, 7)
    assert damaged == DAMAGES[kind](content, 7) != content
    assert damaged != DAMAGES[kind](content, 8)
    assert kind == "cut" or len(damaged) == len(content)


def test_titles_in_another_encoding(make_video):
    path = make_video("clip.avi", codec="mpeg4")
    with av.open(str(path)) as source, av.open(str(path.with_name("titled.avi")), "w") as target:
        target.metadata["title"] = "cafe XX"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    titled = path.with_name("titled.avi")
    assert titled.read_bytes().count(b"cafe XX") == 1
    titled.write_bytes(titled.read_bytes().replace(b"cafe XX", b"caf\xe9 XXX"[:7]))
    assert read_damaged(str(titled)) == "whole"


def test_codecs_that_nobody_knows(make_video, tmp_path, gray_frame):
    picture = make_video("clip.mp4")
    picture.write_bytes(picture.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match="codec is unknown"):
        VideoReader(picture)
    voice = make_video("voice.mkv", sound="aac")
    voice.write_bytes(voice.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    with VideoWriter(tmp_path / "out.mp4", width=64, height=48, source=voice) as writer:
        writer.write(gray_frame(0, 64, 48), 0.0)
    assert writer.warnings == ["sound: its codec is unknown to FFmpeg, it was left out"]


@pytest.mark.parametrize("size", [(8000, 8000), (16000, 16000), (65535, 65535)])
def test_a_header_that_claims_a_huge_picture(make_video, size):
    path = make_video("clip.gif", codec="gif", pixel_format="rgb8")
    content = bytearray(path.read_bytes())
    struct.pack_into("<HH", content, 6, *size)
    path.write_bytes(content)
    with Fuzzer() as fuzzer:
        fuzzer.run("huge", path)
    assert dict(fuzzer.outcomes) == {"refused": 1}
    assert fuzzer.peak_bytes < 200 << 20


@pytest.mark.parametrize("name", ["av1_ivf", "apng", "vp8_webm"])
def test_several_threads_give_what_one_gives(name, tmp_path, monkeypatch):
    (case,) = (case for case in CASES if case.name == name)
    path = case.make(tmp_path)
    path.write_bytes(cut(path.read_bytes(), 180))
    seen = {}
    for threads in (1, 4):
        monkeypatch.setattr(decoders_module.os, "cpu_count", lambda threads=threads: threads)
        monkeypatch.setattr(decoders_module, "MAX_THREADS", threads)
        seen[threads] = [frame.seconds for frame in _decode(path)]
    assert seen[1] == seen[4]
    assert 6 <= len(seen[1]) < 12
    assert np.all(np.diff(seen[1]) > 0)


def _decode(path):
    with VideoReader(path) as reader:
        info = reader.info
    job = decoders_module.DecodeJob(
        path=str(path),
        stream_index=0,
        width=info.width,
        height=info.height,
        num_frames=info.num_frames,
        frame_seconds=0.04,
    )
    with contextlib.suppress(decoders_module.DamagedFile):
        yield from decoders_module.decode_with_pyav(job)
