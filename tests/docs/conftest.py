"""What the pages call `video.mp4`, `my_clips` and so on: short cuts of the shipped clip."""

import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

# Shots of the shipped clip that show one person (tests/test_demo_clip.py).
ANNA, BEN = range(70, 125), range(155, 210)
FPS = 25
SIZE = (640, 360)


@pytest.fixture(scope="session")
def small_inputs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of everything that a page's commands may read beside the repository's own."""
    folder = tmp_path_factory.mktemp("inputs")
    with av.open(str(root / "examples" / "demo.mp4")) as container:
        frames = [
            frame.to_ndarray(format="rgb24", width=SIZE[0], height=SIZE[1])
            for frame in container.decode(video=0)
        ]
    _write_video(folder / "video.mp4", frames[10:60])
    _write_video(folder / "videos" / "first.mp4", [*frames[60:70], *frames[70:85]])
    _write_video(folder / "videos" / "second.mp4", frames[140:165])
    for emotion, start in ("happy", 212), ("neutral", 240):
        _write_video(folder / "other_clips" / emotion / "both.mp4", frames[start : start + 13])
    for person, shot in ("anna", ANNA), ("ben", BEN):
        for number, (emotion, start) in enumerate(
            [("happy", 0), ("happy", 13), ("neutral", 26), ("neutral", 39)], start=1
        ):
            own = [frames[i] for i in shot[start : start + 13]]
            _write_video(folder / "my_clips" / emotion / f"{person}_{number}.mp4", own)
    _write_fer2013(folder / "fer2013.csv", frames)
    return folder


@pytest.fixture
def checkout(root: Path, small_inputs: Path, tmp_path: Path, python_folder: Path) -> Path:
    """Folder that looks to a page's commands like a checkout with the reader's own files in it."""
    folder = tmp_path / "emotemporal"
    shutil.copytree(small_inputs, folder)
    for name in ("tools", "configs", "checkpoints", "examples", "benchmarks"):
        (folder / name).symlink_to(root / name)
    (folder / ".venv").symlink_to(python_folder)
    return folder


@pytest.fixture(scope="session")
def python_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `bin/python` and `bin/emotemporal`, both run by this Python."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "bin").mkdir()
    installed = "import sys; from emotemporal.cli import main; sys.exit(main())"
    for name, arguments in ("python", ""), ("emotemporal", f"-c '{installed}'"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    return folder


def _write_video(path: Path, frames: Sequence[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _write_fer2013(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write a table as FER2013's own, of a few grey pictures for each emotion and split."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["emotion", "pixels", "Usage"])
        for split, num_each in ("Training", 20), ("PublicTest", 1), ("PrivateTest", 1):
            for label in range(7):
                for _ in range(num_each):
                    frame = frames[int(rng.integers(len(frames)))]
                    top, left = rng.integers(0, 360 - 48), rng.integers(0, 640 - 48)
                    pixels = frame[top : top + 48, left : left + 48, 1].ravel()
                    table.writerow([label, " ".join(map(str, pixels)), split])
