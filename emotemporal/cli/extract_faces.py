"""`emotemporal extract-faces`: cut tracked faces out of labelled videos."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_FAILED, EXIT_OK, guarded, make_parser, progress_bar, tell
from emotemporal.datasets.registry import DATASETS
from emotemporal.faces.choice import DETECTOR_HELP, DetectorChoice

if TYPE_CHECKING:
    from rich.table import Table

    from emotemporal.datasets.clips import ClipItem
    from emotemporal.extraction import Extraction


def _parser() -> ArgumentParser:
    parser = make_parser(
        "extract-faces",
        "Cut the tracked, aligned face of the main person out of labelled videos, for training. "
        "Of several people it is the one whose face covers the largest area, summed over all frames. "
        "An interrupted run goes on where it stopped; extraction.csv in the store says what became of each "
        "video.",
    )
    parser.add_argument(
        "data",
        help="folder of a data set as downloaded, manifest csv (path,label[,subject,split,source]), or "
        "folders named by emotion",
    )
    parser.add_argument("--output", type=str, required=True, help="folder of the crop store")
    parser.add_argument(
        "--dataset", choices=["auto", *DATASETS], default="auto", help="auto goes by the names in it"
    )
    parser.add_argument(
        "--modality", choices=["audio-video", "video-only"], help="of RAVDESS; by default each take once"
    )
    parser.add_argument("--channel", choices=["speech", "song"], help="of RAVDESS; both by default")
    parser.add_argument(
        "--calm", choices=["neutral", "keep"], default="neutral", help="label calm clips neutral, or calm"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes; the crops do not depend on it")
    parser.add_argument("--side", type=int, default=48, help="of the crops, in pixels")
    parser.add_argument(
        "--landmarks68",
        action="store_true",
        help="also keep 68 landmarks of each face; needs the extra emotemporal[landmarks]",
    )
    parser.add_argument(
        "--embeddings",
        type=str,
        metavar="CHECKPOINT",
        help="also keep what this frame network says of the crops, so that trainings on it start at once",
    )
    parser.add_argument("--detector", type=str, default="mtcnn", help=DETECTOR_HELP)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)

    from rich.console import Console

    from emotemporal.checkpoint import load_checkpoint
    from emotemporal.datasets.crops import CropStore
    from emotemporal.datasets.evidence import clip_evidence
    from emotemporal.datasets.registry import describe, read_clips
    from emotemporal.errors import UsageError
    from emotemporal.extraction import extract_faces
    from emotemporal.faces.landmarks import LandmarkPredictor
    from emotemporal.networks import build_classifier
    from emotemporal.runtime import choose_backend, choose_device
    from emotemporal.structures import CropGeometry
    from emotemporal.versions import versions

    if options.workers < 1:
        raise UsageError(f"--workers must be at least 1, found {options.workers}")
    detector = DetectorChoice.parse(options.detector)
    try:
        geometry = CropGeometry(side_px=options.side)
    except ValueError as error:
        raise UsageError(f"--side: {error}") from error
    found = read_clips(
        options.data,
        options.dataset,
        modality=options.modality,
        channel=options.channel,
        merge_calm=options.calm == "neutral",
    )
    for line in (describe(found), *found.notes):
        tell(line)
    # Before hours of extraction, not after them.
    frame = load_checkpoint(options.embeddings, kind="frame") if options.embeddings else None
    device = choose_device(options.device)
    backend = choose_backend("auto", device)
    provenance = {
        "detector": detector.identity(),
        "backend": backend,
        "emotemporal": versions()["emotemporal"],
    }
    if frame is not None and frame.header.geometry != geometry:
        raise UsageError(
            f"--embeddings {options.embeddings}: sees crops of side {frame.header.geometry.side_px} and its "
            f"own template, not these of side {geometry.side_px}; choose another --side or checkpoint"
        )
    if options.landmarks68:
        # That it is installed is known by making one.
        LandmarkPredictor()
    store = CropStore.create(options.output, geometry, provenance, landmarks68=options.landmarks68)

    with progress_bar(str(options.data)) as draw:
        resumed = False

        def on_progress(stage: str, done: int, total: int | None) -> None:
            nonlocal resumed
            if done and not resumed:
                tell(f"{done} of {total} clips are in the store already")
            resumed = True
            draw(stage, done, total)

        def on_failure(item: "ClipItem", reason: str) -> None:
            tell(f"error: {reason}")

        extraction = extract_faces(
            found.items,
            store,
            partial(detector.make, device, backend),
            workers=options.workers,
            on_progress=on_progress,
            on_failure=on_failure,
        )
        if frame is not None:
            clip_evidence(
                store,
                build_classifier(frame, device=device),
                [row.clip_id for row in extraction.rows],
                keep=True,
                on_line=tell,
                on_progress=draw,
            )
    Console(soft_wrap=True).print(_summary(extraction))
    return EXIT_FAILED if extraction.failures else EXIT_OK


def _summary(extraction: "Extraction") -> "Table":
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    from emotemporal.datasets.clips import some_of

    rows = extraction.rows
    empty = [row.clip_id for row in rows if row.num_seen == 0]
    shares = {row.clip_id: row.num_seen / row.num_frames for row in rows if row.num_seen}
    num_several = sum(row.num_people > 1 for row in rows)
    frames, seen = sum(row.num_frames for row in rows), sum(row.num_seen for row in rows)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("clips", str(len(rows)), f"of {len(extraction.items)} videos")
    table.add_row("without a face", str(len(empty)), escape(some_of(empty)))
    table.add_row(
        "of several tracks", str(num_several), "the one of the largest area over all frames is kept"
    )
    table.add_row("failed", str(len(extraction.failures)), escape(some_of(list(extraction.failures))))
    table.add_row("frames", str(frames), f"face seen on {seen} ({100 * seen / max(1, frames):.1f} %)")
    if shares:
        worst = min(shares, key=shares.__getitem__)
        table.add_row("seen, median clip", f"{100 * np.median(list(shares.values())):.1f} %", "")
        table.add_row("seen, worst clip", f"{100 * shares[worst]:.1f} %", escape(worst))
    return table
