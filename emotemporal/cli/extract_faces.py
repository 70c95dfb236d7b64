"""`emotemporal extract-faces`: cut tracked faces out of labelled videos."""

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_FAILED, EXIT_OK, guarded, make_parser, progress_bar


def _parser() -> ArgumentParser:
    parser = make_parser(
        "extract-faces",
        "Cut the tracked, aligned face of the main person out of labelled videos, for training. "
        "An interrupted run goes on where it stopped.",
    )
    parser.add_argument(
        "data",
        help="manifest csv (path,label[,subject,split]), a folder with one, or folders named by emotion",
    )
    parser.add_argument("--output", type=str, required=True, help="folder of the crop store")
    parser.add_argument("--side", type=int, default=48, help="of the crops, in pixels")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)

    from emotemporal.datasets.crops import CropStore, StoredClip
    from emotemporal.datasets.manifest import ClipItem, read_manifest
    from emotemporal.errors import UsageError, VideoError
    from emotemporal.extraction import extract_faces
    from emotemporal.faces.detector import MtcnnDetector
    from emotemporal.pipeline import choose_device, versions
    from emotemporal.structures import CropGeometry

    items = read_manifest(options.data)
    try:
        geometry = CropGeometry(side_px=options.side)
    except ValueError as error:
        raise UsageError(f"--side: {error}") from error
    provenance = {"detector": "mtcnn", "emotemporal": versions()["emotemporal"]}
    store = CropStore.create(options.output, geometry, provenance)
    kept = sum(store.has(item) for item in items)
    if kept:
        print(f"{kept} of {len(items)} clips are in the store already", file=sys.stderr)
    failures = []

    with progress_bar(str(options.data)) as on_progress:
        done = kept

        def on_clip(item: ClipItem, clip: StoredClip) -> None:
            nonlocal done
            done += 1
            on_progress("clips", done, len(items))

        def on_failure(item: ClipItem, error: VideoError) -> None:
            failures.append(error)
            print(f"error: {error}", file=sys.stderr)

        detector = MtcnnDetector(device=choose_device(options.device).type)
        rows = extract_faces(items, store, detector, on_clip=on_clip, on_failure=on_failure)
    empty = [row.clip_id for row in rows if row.num_seen == 0]
    seen, frames = sum(row.num_seen for row in rows), sum(row.num_frames for row in rows)
    print(f"{len(rows)} clips, {frames} frames, face seen on {seen} ({100 * seen / max(1, frames):.1f} %)")
    print(f"{sum(row.num_people > 1 for row in rows)} clips with several people: the most prominent is kept")
    print(f"{len(empty)} clips without a face" + (f": {', '.join(empty)}" if empty else ""))
    return EXIT_FAILED if failures else EXIT_OK
