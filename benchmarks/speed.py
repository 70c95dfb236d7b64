"""Frames a second of predict_clip.py against MTCNN alone run on every frame, in turn; and its start.

python benchmarks/speed.py ../shared/data/clips [--peer-python PYTHON]

Of each clip in turn, round after round: `predict_clip.py --per-frame` from opening the file to its written
results, the same with `--overlay`, the same with the full detector on every key frame, still or not, decoding
alone, and facenet-pytorch's `MTCNN.detect` alone, with its own settings, on frames already in memory (a part
of them, since it is slow). Start-up is apart: the networks are loaded once, and a first run is not counted.
With `--peer-python`, whose environment has `fer` or `deepface`, those run as well, on the frames that MTCNN
sees. A ratio compares what ran in the same round.

Start: the command as a fresh process on 3 s of video. Folder: `predict_clip.py FOLDER` on all cores against
the very same command on one core.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from facenet_pytorch import MTCNN
from matplotlib.figure import Figure
from PIL import Image
from processes import Cost, Stopwatch, predict_command, run_command
from results import FOLDER, ROOT, machine, write_result
from videos import cut_video

from emotemporal.cli.predict_clip import main as predict_clip
from emotemporal.faces.tracker import FaceTracker
from emotemporal.pipeline import EmotionPipeline
from emotemporal.report.plots import save_figure
from emotemporal.video.reader import VideoReader

CLIPS = {
    "speed_360p_vs_mtcnn": ["WolfgangLanger_Pexels.mp4", "single_face.mp4"],
    "speed_1080p_vs_mtcnn": ["many_faces_1080p.mp4"],
}
_START_CLIP = "WolfgangLanger_Pexels.mp4"
_START_SECONDS = 3
_FOLDER_CLIPS = ("WolfgangLanger_Pexels.mp4", "single_face.mp4")
_FOLDER_COPIES = 6
_PEER_FRAMES = 40
PIPELINE, MTCNN_ALONE = "pipeline", "MTCNN alone"
_OVERLAY, _DECODING = "pipeline with overlay", "decoding alone"
_NONE_SPARED = "pipeline, no key frame spared"
_BARS = {_DECODING: "#b0b5bd", PIPELINE: "#4477aa", _OVERLAY: "#66ccee", MTCNN_ALONE: "#aa3377"}
_OTHER_BAR = "#bb5500"

Rounds = dict[str, list[float]]


class ClipRounds:
    """One clip's rounds: frames a second, and CPU seconds a frame, of everything that is compared."""

    def __init__(self, clip: Path) -> None:
        self.clip = clip
        with VideoReader(clip) as reader:
            stride = max(1, reader.info.num_frames // _PEER_FRAMES)
            self.num_frames = 0
            self.pictures = []
            for batch in reader:
                self.num_frames += len(batch)
                self.pictures += [Image.fromarray(f) for f in batch.data[batch.frame_index % stride == 0]]
        self.rates: Rounds = {}
        self.cpu: Rounds = {}

    def add(self, name: str, cost: Cost, num_frames: int) -> None:
        self.rates.setdefault(name, []).append(num_frames / cost.seconds)
        self.cpu.setdefault(name, []).append(cost.cpu_seconds / num_frames)

    def ratios(self, name: str, base: str) -> list[float]:
        """Times that `name` is faster than `base`, round by round."""
        return [a / b for a, b in zip(self.rates[name], self.rates[base], strict=True)]

    def details(self) -> dict[str, Any]:
        return {
            "num_frames": self.num_frames,
            "num_peer_frames": len(self.pictures),
            "frames_per_second": self.rates,
            "cpu_seconds_per_frame": self.cpu,
            "ratios": self.ratios(PIPELINE, MTCNN_ALONE),
            "overlay_ratios": self.ratios(PIPELINE, _OVERLAY),
            "spared_ratios": self.ratios(PIPELINE, _NONE_SPARED),
        }


def run_round(rounds: ClipRounds, detector: MTCNN, peer_python: Path | None) -> None:
    """Run everything once."""
    for name, flags in ((PIPELINE, ["--per-frame"]), (_OVERLAY, ["--per-frame", "--overlay"])):
        rounds.add(name, predict(rounds.clip, flags), rounds.num_frames)
    with patch("emotemporal.pipeline.FaceTracker", partial(FaceTracker, still_seconds=0)):
        rounds.add(_NONE_SPARED, predict(rounds.clip, ["--per-frame"]), rounds.num_frames)
    with Stopwatch() as watch, VideoReader(rounds.clip) as reader:
        decoded = sum(len(batch) for batch in reader)
    rounds.add(_DECODING, watch.cost, decoded)
    with Stopwatch() as watch:
        for picture in rounds.pictures:
            detector.detect(picture)
    rounds.add(MTCNN_ALONE, watch.cost, len(rounds.pictures))
    if peer_python is not None:
        for name, rate in peer_rates(peer_python, rounds.clip).items():
            rounds.rates.setdefault(name, []).append(rate)


def predict(clip: Path, flags: Sequence[str]) -> Cost:
    """Run the command inside this process, with networks that are loaded already."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        with Stopwatch() as watch:
            code = predict_clip([str(clip), "--output-dir", folder, *flags])
        if code:
            raise RuntimeError(f"predict_clip.py {clip} ended with {code}")
    return watch.cost


def peer_rates(python: Path, clip: Path) -> dict[str, float]:
    """Return frames a second of the packages that another environment has."""
    script = Path(__file__).with_name("peer_rates.py")
    command = [str(python), str(script), str(clip), str(_PEER_FRAMES)]
    # Of ours, nothing may be imported there.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_start(source: Path, num_rounds: int) -> None:
    """Record how long a fresh process takes for a short clip, and for its help."""
    starts, helps = [], []
    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary) / "short.mp4"
        cut_video(source, clip, seconds=_START_SECONDS)
        command = predict_command(clip, Path(temporary) / "out", "--per-frame")
        # As on a machine that has never run it.
        bare = run_command(command, environment={"EMOTEMPORAL_CACHE": str(Path(temporary) / "cache")})
        run_command(command)
        help_command = [sys.executable, str(ROOT / "tools" / "predict_clip.py"), "--help"]
        for _ in range(num_rounds):
            starts.append(run_command(command))
            helps.append(run_command(help_command))
    details = {"rounds": [cost._asdict() for cost in starts], "nothing_compiled": bare._asdict()}
    details |= {"video": f"{source.name}, its first {_START_SECONDS} s"}
    unit = "seconds from the command to its results written"
    write_result("start_seconds", median(cost.seconds for cost in starts), unit=unit, details=details)
    details = {"rounds": [cost._asdict() for cost in helps]}
    write_result("help_seconds", median(cost.seconds for cost in helps), unit="seconds", details=details)


def measure_folder(folder: Path, num_rounds: int) -> None:
    """Record how much faster the command goes through a folder on all cores than on one."""
    cores = sorted(os.sched_getaffinity(0))
    wholes, singles = [], []
    with tempfile.TemporaryDirectory() as temporary:
        clips = Path(temporary) / "clips"
        clips.mkdir()
        for name in _FOLDER_CLIPS:
            for number in range(_FOLDER_COPIES):
                (clips / f"{number}_{name}").symlink_to((folder / name).resolve())
        command = predict_command(clips, Path(temporary) / "out", "--per-frame", "--no-resume")
        for _ in range(num_rounds):
            singles.append(run_command(command, cores=cores[:1]))
            wholes.append(run_command(command, cores=cores))
    ratios = [one.seconds / both.seconds for one, both in zip(singles, wholes, strict=True)]
    details = {
        "cores": len(cores),
        "videos": [f"{name}, {_FOLDER_COPIES} times" for name in _FOLDER_CLIPS],
        "one_core": [cost._asdict() for cost in singles],
        "all_cores": [cost._asdict() for cost in wholes],
        "cores_busy": median(cost.cpu_seconds / cost.seconds for cost in wholes),
        "ratios": ratios,
    }
    write_result(
        "folder_throughput", median(ratios), unit="times one core, start-up included", details=details
    )


def speed_table(found: Mapping[str, ClipRounds]) -> str:
    """Return the medians in Markdown."""
    lines = ["| | frames a second | times MTCNN | CPU ms a frame |", "|---|---|---|---|"]
    for clip, rounds in found.items():
        lines.append(f"| **{clip}** | | | |")
        for name, rates in rounds.rates.items():
            cpu = f"{1000 * median(rounds.cpu[name]):.1f}" if name in rounds.cpu else ""
            times = median(rounds.ratios(name, MTCNN_ALONE))
            lines.append(f"| {name} | {median(rates):.1f} | {times:.1f} | {cpu} |")
    return "\n".join(lines)


def plot_speed(found: Mapping[str, ClipRounds]) -> Figure:
    """Draw the medians as bars on a logarithmic axis, one panel for each clip."""
    names = [name for name in next(iter(found.values())).rates if name != _NONE_SPARED]
    height = 0.9 + 0.28 * len(names) * len(found)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (clip, rounds) in zip(panels, found.items(), strict=True):
        rates = [median(rounds.rates[name]) for name in names]
        bars = axes.barh(names, rates, color=[_BARS.get(name, _OTHER_BAR) for name in names])
        axes.bar_label(bars, [f"{rate:.{0 if rate >= 100 else 1}f}" for rate in rates], padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(clip, fontsize=9, loc="left")
    panels[-1].set_xlabel("frames a second (logarithmic)")
    panels[-1].set_xlim(right=2 * panels[-1].get_xlim()[1])
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the clips")
    parser.add_argument("--peer-python", type=Path, help="Python of an environment with fer or deepface")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    if options.peer_python is None:
        print("fer, deepface: skipped, no --peer-python")
    measure_start(options.folder / _START_CLIP, options.rounds)
    measure_folder(options.folder, options.rounds)
    pipeline = EmotionPipeline.load()
    detector = MTCNN(keep_all=True, post_process=False)
    found = {clip: ClipRounds(options.folder / clip) for clips in CLIPS.values() for clip in clips}
    with patch.object(EmotionPipeline, "load", return_value=pipeline):
        for rounds in found.values():
            predict(rounds.clip, ["--per-frame", "--overlay"])
        for _ in range(options.rounds):
            for rounds in found.values():
                run_round(rounds, detector, options.peer_python)
    if options.peer_python is not None and not set(next(iter(found.values())).rates) - {*_BARS, _NONE_SPARED}:
        print(f"fer, deepface: skipped, {options.peer_python} has neither")
    for name, clips in CLIPS.items():
        slowest = min(median(found[clip].ratios(PIPELINE, MTCNN_ALONE)) for clip in clips)
        details = {clip: found[clip].details() for clip in clips}
        write_result(name, slowest, unit="times MTCNN on every frame, slowest clip", details=details)
    costs = {clip: median(rounds.ratios(PIPELINE, _OVERLAY)) for clip, rounds in found.items()}
    write_result(
        "overlay_cost", max(costs.values()), unit="times the time without, slowest clip", details=costs
    )
    table = speed_table(found)
    print(table)
    (FOLDER / "speed.md").write_text(f"{table}\n\n{machine()}, medians of {options.rounds} rounds\n")
    save_figure(plot_speed(found), ROOT / "docs" / "speed.png")


if __name__ == "__main__":
    main(sys.argv[1:])
