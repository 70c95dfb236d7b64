"""Where the time goes when a video is labelled, stage by stage.

python benchmarks/stage_times.py VIDEO [VIDEO ...]

Each stage's own seconds, without those of stages that it calls, on the wall and in its thread on the CPU.
Stages of two threads overlap: shares are of the whole run's wall time and may add up to more. OpenVINO
calculates in threads of its own, and the decoder in a process of its own: both count only in the last line.
The file is not called profile.py, which would hide the standard library's module of that name.
"""

import io
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from processes import Stopwatch
from rich.console import Console
from rich.table import Table

from emotemporal.cli.predict_clip import main as predict_clip
from emotemporal.pipeline import EmotionPipeline

_STAGES = {
    "decoder, waited for": ["emotemporal.video.child.DecodingChild.receive"],
    "shot cuts": ["emotemporal.faces.shots.ShotCutDetector.is_cut"],
    "full detector": ["emotemporal.faces.detector.MtcnnDetector.detect_faces"],
    "refinement": ["emotemporal.faces.detector.MtcnnDetector.refine_faces"],
    "alignment": ["emotemporal.faces.gathering.align_faces"],
    "frame network": ["emotemporal.models.classifier.EmotionClassifier.classify_crops"],
    "temporal head": [
        "emotemporal.models.windows.WindowedHead.add",
        "emotemporal.models.windows.WindowedHead.finish",
    ],
    "smoothing": ["emotemporal.pipeline.smooth_probs"],
    "writing": ["emotemporal.report.tables.write_json", "emotemporal.report.tables.write_frames_csv"],
    # Generators: what is left of them once the stages that they call are taken off.
    "copying frames": ["emotemporal.video.reader.VideoReader._read_batches"],
    "association": [
        "emotemporal.faces.tracker.FaceTracker.update",
        "emotemporal.faces.tracker.FaceTracker.finish",
    ],
}


class StageTimes:
    """Seconds of each stage, of all threads."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inner = threading.local()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function, or one that returns a generator, so that its own time counts for the stage."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            self.calls[stage] += 1
            found = self._call(stage, lambda: function(*args, **kwargs))
            return self._steps(stage, found) if hasattr(found, "send") else found

        return run

    def _steps(self, stage: str, generator: Any) -> Any:
        end = object()
        while (value := self._call(stage, lambda: next(generator, end))) is not end:
            yield value

    def _call(self, stage: str, function: Callable[[], Any]) -> Any:
        outer = getattr(self._inner, "spent", None)
        self._inner.spent = [0.0, 0.0]
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return function()
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            self.wall[stage] += wall - self._inner.spent[0]
            self.cpu[stage] += cpu - self._inner.spent[1]
            if outer is not None:
                outer[0] += wall
                outer[1] += cpu
            self._inner.spent = outer


def measure_stages(pipeline: EmotionPipeline, video: Path) -> None:
    """Label a video with all stages timed, and print the table."""
    times = StageTimes()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        command = [str(video), "--per-frame", "--no-resume", "--output-dir", folder]
        stack.enter_context(patch.object(EmotionPipeline, "load", return_value=pipeline))
        stack.enter_context(redirect_stdout(io.StringIO()))
        # What is loaded with the first video is not counted.
        predict_clip(command)
        for stage, places in _STAGES.items():
            for place in places:
                stack.enter_context(_patched(place, stage, times))
        with Stopwatch() as watch:
            predict_clip(command)
    total = watch.cost
    table = Table("stage", "calls", "wall s", "share", "thread CPU s", title=video.name, box=None)
    for stage in sorted(times.wall, key=lambda name: -times.wall[name]):
        wall = times.wall[stage]
        cells = (str(times.calls[stage]), f"{wall:.2f}", f"{wall / total.seconds:.1%}")
        table.add_row(stage, *cells, f"{times.cpu[stage]:.2f}")
    cpu = f"{total.cpu_seconds:.2f}, all processes"
    table.add_row("the whole run", "1", f"{total.seconds:.2f}", "100.0%", cpu)
    Console(width=110).print(table)


def _patched(place: str, stage: str, times: StageTimes) -> Any:
    """Replace `module.function` or `module.Class.method`; one that is not there is an error."""
    owner, _, name = place.rpartition(".")
    return patch(place, times.timed(stage, getattr(resolve_name(owner), name)))


def main(*videos: str) -> None:
    pipeline = EmotionPipeline.load()
    for video in map(Path, videos):
        measure_stages(pipeline, video)


if __name__ == "__main__":
    main(*sys.argv[1:])
