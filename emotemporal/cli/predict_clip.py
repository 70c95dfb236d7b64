"""`emotemporal predict-clip`: label every person in videos."""

import json
import os
from argparse import BooleanOptionalAction
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_FAILED, EXIT_OK, guarded, make_parser, progress_bar, tell
from emotemporal.errors import UsageError
from emotemporal.faces.choice import DETECTOR_HELP, DetectorChoice
from emotemporal.labels import LABEL_SETS
from emotemporal.structures import SCHEMA_VERSION

if TYPE_CHECKING:
    from emotemporal.batch.jobs import Job, Outcome, Request


def _parser() -> ArgumentParser:
    parser = make_parser(
        "predict-clip",
        "Tell what every person in a video shows on their face: for the clip, for every frame.",
    )
    parser.add_argument(
        "videos",
        nargs="+",
        help="videos, pictures or folders of them, a csv table with a column path, numbered pictures "
        "(frames/%%05d.png), http(s) addresses",
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
        "--report",
        action="store_true",
        help="write <stem>.report.html, a page that plays the video with all that was found in it",
    )
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
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=0.0,
        metavar="P",
        help="call clips, and frames by their smoothed probability, uncertain where that is below P, from 0 "
        "to 1; a vote by the frames' mean probability of its emotion",
    )
    parser.add_argument("--smooth", choices=["hmm", "ema", "none"], default="hmm", help="of the frame labels")
    parser.add_argument("--detector", type=str, default="mtcnn", help=DETECTOR_HELP)
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
    parser.add_argument(
        "--workers",
        type=str,
        metavar="N",
        help="processes, each of which labels whole videos; no result depends on it. By default auto, as "
        "many as keep all cores busy, for several videos and 1 for one. Each has networks of its own in "
        "memory, that of a GPU too",
    )
    parser.add_argument(
        "--resume",
        action=BooleanOptionalAction,
        default=None,
        help="keep results in the output folder that are of the same file (by size and time), checkpoint and "
        "settings, instead of labelling that video again; by default where an input is a folder or table",
    )
    parser.add_argument("--quiet", action="store_true", help="no tables, no progress, nothing but faults")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument(
        "--json-lines",
        action="store_true",
        help="print one JSON document a line instead of tables, of each video as soon as it is done: those "
        "that an earlier run had done come first, the others in the order in which they end",
    )
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.baseline and not options.geometry:
        raise UsageError("--baseline is for labels by landmarks; give --geometry FILE as well")
    if options.json and options.json_lines:
        raise UsageError("--json and --json-lines: choose one")
    if not 0 <= options.min_confidence <= 1:
        raise UsageError(f"--min-confidence {options.min_confidence}: expected a probability, 0 to 1")
    DetectorChoice.parse(options.detector)
    options.formats = _parse_formats(options.formats)
    workers = _num_workers(options.workers)
    output_dir = _writable_folder(Path(options.output_dir))
    from emotemporal.batch.inputs import holds_videos, list_jobs

    jobs, failures = list_jobs(options.videos)
    for failure in failures.values():
        tell(f"error: {failure}")
    if not jobs:
        return EXIT_FAILED

    from emotemporal.batch.jobs import Request

    # What is asked for bears the names of its flags.
    asked = {field.name: getattr(options, field.name) for field in fields(Request)}
    request = Request(**{**asked, "baseline": tuple(options.baseline), "formats": tuple(options.formats)})
    has_many = any(map(holds_videos, options.videos))
    is_batch = has_many or len(options.videos) > 1
    if is_batch or options.resume:
        outcomes = _label_batch(
            jobs,
            request,
            output_dir,
            workers=workers,
            resume=has_many if options.resume is None else options.resume,
            quiet=options.quiet,
        )
    else:
        outcomes = _label_one(jobs[0], request, output_dir, quiet=options.quiet)

    report = _Report(options)
    results: dict[str, tuple[str, Mapping[str, Any] | None, str]]
    results = {name: (name, None, failure) for name, failure in failures.items()}
    # In the order of the input, whatever is done first.
    results |= {str(job.video): (str(job.video), None, "") for job in jobs}
    with closing(outcomes):
        for outcome in outcomes:
            report.show(outcome)
            path = str(outcome.job.video)
            results[path] = (path, outcome.document, outcome.failure)
    documents = [document for _, document, _ in results.values() if document is not None]
    if is_batch:
        from emotemporal.report.summary import write_summary_csv

        write_summary_csv(output_dir / "summary.csv", list(results.values()))
    if options.json and is_batch:
        print(json.dumps({"schema_version": SCHEMA_VERSION, "videos": documents}))
    elif options.json and documents:
        print(json.dumps(documents[0]))
    return EXIT_OK if len(documents) == len(results) else EXIT_FAILED


def _label_one(
    job: "Job", request: "Request", output_dir: Path, *, quiet: bool
) -> Generator["Outcome", None, None]:
    """Label the only video, with all cores."""
    from emotemporal.video.child import prepare_child

    # It starts while this process still loads its networks.
    prepare_child()
    from emotemporal.batch.labeller import Labeller

    labeller = Labeller(request, output_dir, one_thread=False, on_licence=tell)
    with progress_bar(job.name, quiet=quiet) as on_progress:
        outcome = labeller.label(job, on_progress)
    yield outcome


def _label_batch(
    jobs: "Sequence[Job]",
    request: "Request",
    output_dir: Path,
    *,
    workers: int | None,
    resume: bool,
    quiet: bool,
) -> Generator["Outcome", None, None]:
    from emotemporal.batch.run import choose_workers, label_videos

    with progress_bar("", quiet=quiet) as on_progress:
        shares: dict[Job, float] = {}

        def on_share(job: "Job", share: float) -> None:
            shares[job] = share
            on_progress("videos", sum(shares.values()), len(jobs))

        outcomes = label_videos(
            jobs,
            request,
            output_dir,
            workers=workers or choose_workers(),
            resume=resume,
            on_share=on_share,
        )
        num_there = 0
        with closing(outcomes):
            for outcome in outcomes:
                on_share(outcome.job, 1.0)
                num_there += outcome.was_there
                yield outcome
    if num_there and not quiet:
        tell(f"{num_there} of {len(jobs)} videos were done already; --no-resume does them again")


class _Report:
    """Tells of videos as they are done: results on stdout, everything else on stderr."""

    def __init__(self, options: Any) -> None:
        self._json_lines = options.json_lines
        self._tables = not (options.json or options.json_lines or options.quiet)
        self._quiet = options.quiet
        self._told: set[str] = set()

    def show(self, outcome: "Outcome") -> None:
        for line in outcome.licences:
            if line not in self._told:
                self._told.add(line)
                tell(line)
        document = outcome.document
        if document is None:
            tell(f"error: {outcome.failure}")
            return
        if not self._quiet:
            for warning in document["warnings"]:
                tell(f"warning: {outcome.job.name}: {warning}")
        if self._json_lines:
            print(json.dumps(document), flush=True)
        elif self._tables:
            _print_table(document)


def _print_table(document: "Mapping[str, Any]") -> None:
    from rich.console import Console

    from emotemporal.report.tables import summary_heading, summary_table

    console = Console(soft_wrap=True)
    console.print(summary_heading(document))
    console.print(summary_table(document, aggregate=document["settings"]["aggregate"]))
    console.print()


def _num_workers(text: str | None) -> int | None:
    """Return how many processes were asked for, None for as many as are good."""
    if text in (None, "auto"):
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--workers {text}: expected auto or a number from 1")
    return int(text)


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


def _writable_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        usable = path.is_dir() and os.access(path, os.W_OK)
    except OSError as error:
        raise UsageError(f"--output-dir {path}: cannot be made ({error.strerror})") from error
    if not usable:
        raise UsageError(f"--output-dir {path}: not a folder that can be written to")
    return path
