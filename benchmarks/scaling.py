"""Time against the number of frames and of faces: both should be straight lines.

python benchmarks/scaling.py ../shared/data/clips

A clip of one face looped to several lengths, and one that plays 1 to 8 times side by side in 1280x720, so
that only the number of faces differs. All videos in turn, medians of three rounds, start-up apart; the lines
are of least squares. The picture is docs/speed_scaling.png.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from results import ROOT, write_result
from videos import loop_video, tile_video

from emotemporal.pipeline import EmotionPipeline
from emotemporal.report.plots import save_figure

_CLIP = "single_face.mp4"
_SECONDS = (15, 30, 60, 120)
_NUM_FACES = (1, 2, 4, 8)
_MOSAIC_FRAMES = 240
_ROUNDS = 3
_COLOUR, _FAINT = "#4477aa", "#b0b5bd"


class Line(NamedTuple):
    """Seconds as a straight line of a count."""

    slope: float
    intercept: float
    r2: float

    @classmethod
    def fit(cls, counts: Sequence[float], seconds: Sequence[float]) -> "Line":
        slope, intercept = np.polyfit(counts, seconds, 1)
        left = np.asarray(seconds) - (slope * np.asarray(counts) + intercept)
        return cls(float(slope), float(intercept), float(1 - left.var() / np.var(seconds)))


def measure_rounds(pipeline: EmotionPipeline, videos: Sequence[Path]) -> tuple[list[int], np.ndarray]:
    """Return the number of frames of each of V videos, and seconds float64 (rounds, V)."""
    pipeline.analyze(videos[0])
    num_frames = [0] * len(videos)
    seconds = np.zeros((_ROUNDS, len(videos)))
    for row in seconds:
        for i, video in enumerate(videos):
            started = time.perf_counter()
            num_frames[i] = len(pipeline.analyze(video).frame_index)
            row[i] = time.perf_counter() - started
    return num_frames, seconds


def plot_scaling(panels: Sequence[tuple[str, str, Sequence[int], np.ndarray, Line]]) -> Figure:
    """Draw every round's time, and the line through the medians, one panel for each kind of count.

    Args:
        panels: label of the counts, unit of the slope, V counts, seconds (rounds, V), line.
    """
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    for axes, (label, unit, counts, seconds, line) in zip(
        figure.subplots(1, len(panels)), panels, strict=True
    ):
        _plot_panel(axes, counts, seconds, line)
        axes.set_xlabel(label)
        axes.set_title(f"{1000 * line.slope:.3g} ms {unit}, R² = {line.r2:.4f}", fontsize=10)
    figure.axes[0].set_ylabel("seconds, decoding to labels")
    return figure


def _plot_panel(axes: Axes, counts: Sequence[int], seconds: np.ndarray, line: Line) -> None:
    ends = np.array([0, max(counts)])
    axes.plot(ends, line.slope * ends + line.intercept, color=_COLOUR, lw=1.2, label="least squares")
    axes.plot(
        np.tile(counts, len(seconds)), seconds.ravel(), "o", ms=4, color=_FAINT, label="each round", zorder=1
    )
    axes.plot(counts, np.median(seconds, axis=0), "s", ms=5, color=_COLOUR, label="median")
    axes.set_xlim(0, 1.05 * max(counts))
    axes.set_ylim(0, 1.1 * seconds.max())
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def main(folder: str) -> None:
    source = Path(folder) / _CLIP
    pipeline = EmotionPipeline.load()
    with tempfile.TemporaryDirectory() as temporary:
        loops = [Path(temporary) / f"{length}s.mp4" for length in _SECONDS]
        for video, length in zip(loops, _SECONDS, strict=True):
            loop_video(source, video, seconds=length)
        mosaics = [Path(temporary) / f"{num}_faces.mp4" for num in _NUM_FACES]
        for video, num in zip(mosaics, _NUM_FACES, strict=True):
            tile_video(source, video, num_tiles=num, num_frames=_MOSAIC_FRAMES)
        num_people = [len(pipeline.analyze(video).tracks) for video in mosaics]
        if num_people != list(_NUM_FACES):
            raise RuntimeError(f"expected {_NUM_FACES} people in the mosaics, found {num_people}")
        num_frames, seconds = measure_rounds(pipeline, [*loops, *mosaics])
    frames, per_length, per_number = num_frames[: len(loops)], *np.split(seconds, [len(loops)], axis=1)
    by_frames = Line.fit(frames, np.median(per_length, axis=0))
    by_faces = Line.fit(_NUM_FACES, np.median(per_number, axis=0))
    panels = [
        ("frames of 640x360, one face", "a frame", frames, per_length, by_frames),
        (f"faces in {_MOSAIC_FRAMES} frames of 1280x720", "a face", _NUM_FACES, per_number, by_faces),
    ]
    save_figure(plot_scaling(panels), ROOT / "docs" / "speed_scaling.png")
    for name, counts, rounds, line in (
        ("scaling_frames", frames, per_length, by_frames),
        ("scaling_faces", list(_NUM_FACES), per_number, by_faces),
    ):
        details = {"counts": counts, "seconds": rounds.tolist(), **line._asdict(), "clip": _CLIP}
        write_result(name, line.r2, unit="R2 of a straight line through the medians", details=details)


if __name__ == "__main__":
    main(*sys.argv[1:])
