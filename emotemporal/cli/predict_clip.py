"""`emotemporal predict-clip`: label every person in videos."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_FAILED, EXIT_OK, guarded, make_parser, progress_bar
from emotemporal.datasets.clips import VIDEO_SUFFIXES
from emotemporal.errors import CheckpointError, EmotemporalError, UsageError
from emotemporal.labels import LABEL_SETS
from emotemporal.structures import SCHEMA_VERSION

if TYPE_CHECKING:
    from emotemporal.pipeline import EmotionPipeline
    from emotemporal.structures import VideoAnalysis


def _parser() -> ArgumentParser:
    parser = make_parser(
        "predict-clip",
        "Tell what every person in a video shows on their face: for the clip, for every frame.",
    )
    parser.add_argument(
        "videos",
        nargs="+",
        help="videos, pictures or folders of them, numbered pictures (frames/%%05d.png), http(s) addresses",
    )
    parser.add_argument("--per-frame", action="store_true", help="write <stem>.frames.csv")
    parser.add_argument("--overlay", action="store_true", help="write <stem>.overlay.mp4")
    parser.add_argument(
        "--formats",
        type=str,
        default="",
        help="write these besides, separated by commas: segments, statistics, parquet, coco, eaf (ELAN), "
        "textgrid (Praat), vtt, srt",
    )
    parser.add_argument("--plot", action="store_true", help="write <stem>.timeline.png")
    parser.add_argument(
        "--output-dir", type=str, default="emotemporal_output", help="where results go (made if missing)"
    )
    parser.add_argument("--checkpoint", type=str, help="weights; the shipped clip checkpoint by default")
    parser.add_argument(
        "--aggregate",
        choices=["head", "sum", "vote"],
        help="the clip label shown first: head where there is one",
    )
    parser.add_argument(
        "--labels",
        choices=list(LABEL_SETS),
        help="the emotions to tell apart, the checkpoint's own by default: fer6 counts disgust as angry, "
        "ferplus adds contempt, binary is happy or sad",
    )
    parser.add_argument(
        "--frame-labels",
        choices=["network", "head"],
        default="network",
        help="what the smoothed frame labels are made of: the frame network, or what the head made of it",
    )
    parser.add_argument("--smooth", choices=["hmm", "ema", "none"], default="hmm", help="of the frame labels")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--backend",
        choices=["auto", "torch", "openvino"],
        default="auto",
        help="what runs the networks; auto takes openvino, which is faster on a CPU, where it is installed "
        "(extra emotemporal[openvino])",
    )
    parser.add_argument(
        "--geometry",
        type=str,
        help="geometry checkpoint: label every clip by 68 landmarks besides (extra emotemporal[landmarks]); "
        "the one shipped tells RAVDESS's 8 emotions and is not for commercial use",
    )
    parser.add_argument(
        "--baseline",
        nargs="+",
        default=[],
        help="with --geometry, other videos of the person, whose usual face is taken off. Assumes one and "
        "the same person, the most prominent one in each of these and in every labelled video (others there "
        "are labelled without), and at least 3 clips of varied expression: longer videos are cut into clips "
        "of 4 seconds. Of neutral clips alone labels become worse than without",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.baseline and not options.geometry:
        raise UsageError("--baseline is for labels by landmarks; give --geometry FILE as well")
    options.formats = _parse_formats(options.formats)
    output_dir = _writable_folder(Path(options.output_dir))
    jobs, failures = _list_jobs(options.videos)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if not jobs:
        return EXIT_FAILED

    from emotemporal.video.child import prepare_child

    # It starts while this process still loads its networks.
    prepare_child()
    from emotemporal.pipeline import EmotionPipeline

    try:
        pipeline = EmotionPipeline.load(
            options.checkpoint, options.device, labels=options.labels, backend=options.backend
        )
    except CheckpointError as error:
        raise UsageError(f"--checkpoint: {error}" if options.checkpoint else str(error)) from error
    aggregate = options.aggregate or ("head" if pipeline.classifier.head is not None else "sum")
    flag, others = ("--aggregate", "sum or vote") if aggregate == "head" else ("--frame-labels", "network")
    if "head" in (aggregate, options.frame_labels) and pipeline.classifier.head is None:
        if pipeline.checkpoint.header.head is not None:
            raise UsageError(
                f"{flag} head: the head does not work on --labels {options.labels}, use {others}"
            )
        raise UsageError(f"{flag} head: {pipeline.checkpoint.path} is a frame network, use {others}")

    head = pipeline.classifier.head
    if head is not None and head.spec.sees_geometry:
        # Landmarks are not free for every use.
        print(f"licence of --checkpoint: {pipeline.checkpoint.header.licence}", file=sys.stderr)
    analyze = _with_geometry(pipeline, options) if options.geometry else pipeline.analyze

    documents = []
    for video, stem in jobs:
        try:
            analysis = _process(analyze, video, output_dir / stem, aggregate, options)
        except EmotemporalError as error:
            failures.append(str(error))
            print(f"error: {error}", file=sys.stderr)
            continue
        except Exception as error:
            # A fault of ours in one video must not take the others' results with it.
            traceback.print_exc()
            failures.append(str(error))
            print(f"error: {video}: internal error ({error}); please report it", file=sys.stderr)
            continue
        if options.json:
            documents.append(analysis.to_json())
        else:
            _print_table(analysis, aggregate)
    if options.json and (len(options.videos) > 1 or os.path.isdir(options.videos[0])):
        print(json.dumps({"schema_version": SCHEMA_VERSION, "videos": documents}))
    elif options.json and documents:
        print(json.dumps(documents[0]))
    return EXIT_FAILED if failures else EXIT_OK


def _with_geometry(pipeline: "EmotionPipeline", options: Any) -> Callable[..., "VideoAnalysis"]:
    """Return what analyses a video and labels clips by landmarks besides, against a baseline if given."""
    from emotemporal.geometry import GeometryReader

    try:
        geometry = GeometryReader.load(options.geometry)
    except CheckpointError as error:
        raise UsageError(f"--geometry: {error}") from error
    print(f"licence of --geometry: {geometry.checkpoint.header.licence}", file=sys.stderr)
    baseline = geometry.read_baseline(options.baseline, pipeline.detector) if options.baseline else None
    return partial(geometry.analyze, pipeline, baseline=baseline)


def _process(
    analyze: Callable[..., "VideoAnalysis"], video: Path | str, base: Path, aggregate: str, options: Any
) -> "VideoAnalysis":
    """Analyse one video and write what was asked for; the cheap results first, so that they are kept."""
    from emotemporal.pipeline import write_overlay
    from emotemporal.report.tables import write_frames_csv, write_json

    name = Path(video).name
    with progress_bar(name) as on_progress:
        analysis = analyze(
            video, smooth=options.smooth, frame_labels=options.frame_labels, on_progress=on_progress
        )
        analysis = replace(analysis, settings={**analysis.settings, "aggregate": aggregate})
        write_json(analysis, f"{base}.json")
        if options.per_frame:
            write_frames_csv(analysis, f"{base}.frames.csv")
        _write_formats(analysis, base, aggregate, options, on_progress)
        if options.overlay:
            suffix = ".png" if analysis.info.is_still else ".mp4"
            found = write_overlay(analysis, f"{base}.overlay{suffix}", on_progress=on_progress)
            if found:
                analysis = replace(analysis, warnings=(*analysis.warnings, *found))
                write_json(analysis, f"{base}.json")
    for warning in analysis.warnings:
        print(f"warning: {name}: {warning}", file=sys.stderr)
    return analysis


def _parse_formats(text: str) -> list[str]:
    """Return the names that `--formats` lists, each once, all known and possible here."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        return []
    from emotemporal.report.formats import FORMATS, require_packages

    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--formats {name}: unknown, choose from {', '.join(FORMATS)}")
        require_packages(name)
    return list(dict.fromkeys(names))


def _write_formats(
    analysis: "VideoAnalysis", base: Path, aggregate: str, options: Any, on_progress: Callable[..., None]
) -> None:
    """Write what `--formats` and `--plot` ask for; of a picture, what tells no stretches of time."""
    left_out = []
    if options.formats:
        from emotemporal.report.formats import FORMATS

        for name in options.formats:
            if FORMATS[name].timed and analysis.info.is_still:
                left_out.append(name)
            else:
                FORMATS[name].write(analysis, f"{base}{FORMATS[name].suffix}")
    if options.plot and analysis.info.is_still:
        left_out.append("plot")
    elif options.plot:
        from emotemporal.report.timeline import write_timeline

        write_timeline(analysis, f"{base}.timeline.png", aggregate=aggregate, on_progress=on_progress)
    if left_out:
        name = Path(analysis.info.path).name
        print(f"warning: {name}: a picture has no time: {', '.join(left_out)} not written", file=sys.stderr)


def _print_table(analysis: "VideoAnalysis", aggregate: str) -> None:
    from rich.console import Console

    from emotemporal.report.tables import summary_heading, summary_table

    console = Console(soft_wrap=True)
    console.print(summary_heading(analysis))
    console.print(summary_table(analysis, aggregate=aggregate))
    console.print()


def _list_jobs(inputs: Sequence[str]) -> tuple[list[tuple[Path | str, str]], list[str]]:
    """Return videos with the stems of their results, and what of the input cannot be used."""
    from emotemporal.video.opening import is_address, is_sequence

    videos, failures = [], []
    for name in inputs:
        if is_address(name):  # no Path: it makes one slash of two
            videos.append(name)
            continue
        path = Path(name)
        # Unlike Path.is_dir this has no quarrel with a name that is too long for the system.
        if os.path.isdir(path):
            found = sorted(child for child in path.iterdir() if _is_input(child))
            if not found:
                failures.append(f"{path}: no videos or pictures in this folder")
            videos += found
        else:
            videos.append(path)
    jobs, taken = [], set()
    for video in dict.fromkeys(videos):
        # a.mp4 and a.mov, or two folders' a.mp4, must not write over each other's results.
        path = Path(video)
        own = path.absolute().parent.name if is_sequence(video) else path.stem
        stem, number = own, 2
        while stem in taken:
            stem, number = f"{own}-{number}", number + 1
        taken.add(stem)
        jobs.append((video, stem))
    return jobs, failures


def _is_input(path: Path) -> bool:
    from emotemporal.video.pictures import PICTURE_SUFFIXES

    # Overlays and timelines are results, also when they lie beside their videos.
    is_taken = path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES
    return path.is_file() and is_taken and not path.stem.endswith((".overlay", ".timeline"))


def _writable_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        usable = path.is_dir() and os.access(path, os.W_OK)
    except OSError as error:
        raise UsageError(f"--output-dir {path}: cannot be made ({error.strerror})") from error
    if not usable:
        raise UsageError(f"--output-dir {path}: not a folder that can be written to")
    return path
