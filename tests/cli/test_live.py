"""The live command: its lines, its overlay, its ends and exit codes."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import av
import numpy as np
import pytest

from emotemporal.checkpoint import load_checkpoint, save_head
from emotemporal.cli import live as command
from emotemporal.cli.live import main
from emotemporal.errors import VideoError
from emotemporal.labels import FER7
from emotemporal.video import live as video_live


@pytest.fixture
def arguments(short_clip, tiny_clip_checkpoint) -> list[str]:
    return [str(short_clip), "--no-drop", "--checkpoint", str(tiny_clip_checkpoint)]


def test_a_line_of_json_for_each_frame_and_a_summary(arguments, tmp_path, capsys):
    overlay = tmp_path / "out.mp4"
    assert main([*arguments, "--overlay", str(overlay)]) == 0
    printed = capsys.readouterr()
    documents = [json.loads(line) for line in printed.out.splitlines()]
    assert [document["frame_index"] for document in documents] == list(range(9))
    # Told of from the third frame on; the cut after the seventh ends both.
    assert [len(document["people"]) for document in documents] == [0, 0, 2, 2, 2, 2, 2, 0, 0]
    for person in documents[3]["people"]:
        assert list(person["probs"]) == list(FER7)
        assert person["emotion"] == max(person["probs"], key=person["probs"].get)
        assert person["so_far"]["confidence"] == max(person["so_far"]["probs"].values())
    assert "9 of 9 frames shown" in printed.err
    assert "2 people" in printed.err
    with av.open(str(overlay)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 9
    # Boxes are drawn where people are told of, and only there.
    drawn = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames[1:], frames, strict=False)]
    assert drawn[1] > 2 * drawn[0]


def test_played_as_a_camera(arguments, capsys):
    assert main([arg for arg in arguments if arg != "--no-drop"] + ["--max-delay", "60000"]) == 0
    printed = capsys.readouterr()
    shown = len(printed.out.splitlines())
    assert 1 <= shown <= 9
    assert f"{shown} of 9 frames shown" in printed.err
    assert f"dropped {9 - shown} for newer ones and 0 as late" in printed.err


def test_when_every_frame_is_late_it_is_said(arguments, capsys):
    assert main([arg for arg in arguments if arg != "--no-drop"] + ["--max-delay", "0.001"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "warning: no frame was ready within 0.001 ms" in printed.err


def test_a_head_of_another_network_is_refused(arguments, tiny_clip_checkpoint, tmp_path, capsys):
    clip = load_checkpoint(tiny_clip_checkpoint)
    header = replace(clip.header, training={"frame_network": {"sha256": "f" * 64}})
    save_head(tmp_path / "head.safetensors", header, clip.tensors)
    assert main([*arguments, "--head", str(tmp_path / "head.safetensors")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert "belongs to the frame network ffffffffffff" in line


def test_without_a_one_way_head(short_clip, tiny_frame_checkpoint, capsys):
    arguments = [str(short_clip), "--no-drop", "--checkpoint", str(tiny_frame_checkpoint)]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "warning: no one-way head" in printed.err
    assert "so_far" not in printed.out
    assert main([*arguments, "--frame-labels", "head"]) == 2
    assert "no one-way head (gru)" in capsys.readouterr().err


def test_ctrl_c_keeps_the_overlay_and_ends_with_130(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video_live, "open_source", lambda name, *, timeout_seconds: Interrupted(name))
    assert main([*arguments, "--overlay", str(tmp_path / "out.mp4")]) == 130
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    assert "4 of 4 frames shown" in printed.err
    assert printed.err.endswith("interrupted\n")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


def test_a_camera_that_vanishes_keeps_the_overlay_and_ends_with_1(arguments, tmp_path, monkeypatch, capsys):
    gone = VideoError("camera 0: gives no more pictures; check that it is connected")
    monkeypatch.setattr(video_live, "open_source", lambda name, *, timeout_seconds: Interrupted(name, gone))
    assert main([*arguments, "--overlay", str(tmp_path / "out.mp4")]) == 1
    printed = capsys.readouterr()
    assert "4 of 4 frames shown" in printed.err
    assert printed.err.splitlines()[-1] == f"error: {gone}"
    assert (tmp_path / "out.mp4").exists()


class Interrupted(video_live.StreamSource):
    """A source at whose fifth picture something happens."""

    def __init__(self, name, error=KeyboardInterrupt):
        super().__init__(name, 1.0)
        self._error = error

    def pictures(self):
        for _, picture in zip(range(4), super().pictures(), strict=False):
            yield picture
        raise self._error


def test_a_signal_ends_a_running_command(root, short_clip, tiny_clip_checkpoint):
    """From outside, with the thread that grabs still running: an endless source."""
    code = (
        "import itertools, sys\n"
        "from emotemporal.video import live\n"
        "class Endless(live.StreamSource):\n"
        "    is_paced = False\n"
        "    def pictures(self):\n"
        "        import time\n"
        "        first = [p for p, _ in super().pictures()]\n"
        "        for i in itertools.count():\n"
        "            time.sleep(0.02)\n"
        "            yield first[i % 7], i / 50\n"
        "live.open_source = lambda name, *, timeout_seconds: Endless(name, 1.0)\n"
        "from emotemporal.cli.live import main\n"
        f"sys.exit(main([{str(short_clip)!r}, '--max-delay', '60000', "
        f"'--checkpoint', {str(tiny_clip_checkpoint)!r}]))\n"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    guard = threading.Timer(90, process.kill)
    guard.start()
    try:
        assert json.loads(process.stdout.readline())["frame_index"] == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        guard.cancel()
        process.kill()
    assert process.returncode == 130, errors
    assert "frames shown" in errors
    assert errors.endswith("interrupted\n")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--max-delay", "0"], "--max-delay must be positive"),
        (["--overlay", "out.avi"], "an overlay is an .mp4 file"),
        (["--checkpoint", "absent.safetensors"], "no such checkpoint file"),
        (["--head", "absent.safetensors"], "no such checkpoint file"),
    ],
)
def test_wrong_usage_is_one_line(short_clip, flags, words, capsys):
    assert main([str(short_clip), *flags]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_a_source_that_is_not_there_is_one_line(tiny_clip_checkpoint, capsys):
    assert main(["absent.mp4", "--checkpoint", str(tiny_clip_checkpoint)]) == 1
    assert capsys.readouterr().err.splitlines() == ["error: absent.mp4: no such file; check the path"]


class FakeWindows:
    """OpenCV's windows; the user presses q on the third picture."""

    WND_PROP_VISIBLE, COLOR_RGB2BGR = 4, 4

    def __init__(self, gui: str = "QT5") -> None:
        self.gui, self.shown = gui, []

    def getBuildInformation(self):
        return f"  Video I/O:\n  GUI:                           {self.gui}\n    QT: YES\n"

    def cvtColor(self, picture, code):
        return picture[..., ::-1]

    def imshow(self, title, picture):
        self.shown.append(picture)

    def waitKey(self, milliseconds):
        return ord("q") if len(self.shown) == 3 else -1

    def getWindowProperty(self, title, name):
        return 1.0


def test_a_window_shows_frames_until_it_is_closed(arguments, monkeypatch, capsys):
    windows = FakeWindows()
    monkeypatch.setenv("DISPLAY", ":0")
    window = make_window(monkeypatch, windows)
    monkeypatch.setattr(command, "Window", lambda title: window)
    assert main([*arguments, "--show"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(windows.shown) == 3
    assert "frames shown" in printed.err


def make_window(monkeypatch, windows):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cv2", windows)
        return command.Window("emotemporal 0")


def test_no_window_without_screen_or_support(arguments, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cv2", FakeWindows("NONE"))
        assert main([*arguments, "--show"]) == 2
        assert "this OpenCV has no windows" in capsys.readouterr().err
        if sys.platform == "linux":
            patch.setitem(sys.modules, "cv2", FakeWindows())
            assert main([*arguments, "--show"]) == 2
            assert "--show: no screen" in capsys.readouterr().err
