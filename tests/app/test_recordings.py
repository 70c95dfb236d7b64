"""Recordings as browsers write them, without a length."""

import io
from fractions import Fraction

import av
import numpy as np

from emotemporal.app.recordings import index_recording


class Pipe(io.BytesIO):
    """What is written into it cannot be gone back to, as in a browser."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


def record(num_frames: int) -> bytes:
    pipe = Pipe()
    with av.open(pipe, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 40 * index + index % 7, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return pipe.getvalue()


def read(path):
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
        return container.duration, frames


def test_it_is_given_a_length_and_keeps_every_frame_and_its_time(tmp_path):
    path = tmp_path / "recording.webm"
    path.write_bytes(record(50))
    length, frames = read(path)
    assert length is None
    index_recording(path)
    length, again = read(path)
    assert 1.9e6 < length < 2.1e6
    assert again == frames
    assert len(frames) == 50
    content = path.read_bytes()
    index_recording(path)
    assert path.read_bytes() == content


def test_what_is_no_recording_is_left_alone(tmp_path):
    for name, content in (("a.webm", b"no video"), ("a.mp4", record(2))):
        (tmp_path / name).write_bytes(content)
        index_recording(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 2
