"""`emotemporal evaluate`: measure a checkpoint on labelled data."""

import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_OK, guarded, make_parser
from emotemporal.datasets.splits import PROTOCOLS
from emotemporal.errors import UsageError
from emotemporal.labels import LABEL_SETS

if TYPE_CHECKING:
    from emotemporal.checkpoint import Checkpoint
    from emotemporal.datasets.crops import CropStore
    from emotemporal.datasets.sequences import ClipSequence
    from emotemporal.training.evaluation import FramePrediction

_OF_FACES = ("fer2013", "ferplus")


def _parser() -> ArgumentParser:
    parser = make_parser(
        "evaluate",
        "Measure a checkpoint: its frame network on FER2013, or all of it on labelled clips. "
        "A clip in which no face is found counts as an error.",
    )
    parser.add_argument("--checkpoint", type=str, required=True)
    parser.add_argument(
        "--data", type=str, required=True, help="FER2013 csv; or a crop store, manifest or folder of clips"
    )
    parser.add_argument(
        "--protocol",
        choices=[*_OF_FACES, "clips", *PROTOCOLS],
        help="fer2013 for a csv with pixels, clips for everything else; a named split of clips measures each "
        "part that it holds out, of data that the head was not trained on",
    )
    parser.add_argument(
        "--labels",
        choices=["fer2013", *LABEL_SETS],
        help="the emotions to tell apart, the checkpoint's own by default; items that show none of them are "
        "left out and counted; fer2013 is fer7, ferplus is for FER2013's faces",
    )
    parser.add_argument("--split", type=str, help="PrivateTest by default for FER2013, else all clips")
    parser.add_argument("--flip", action="store_true", help="average each face with its mirror image")
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave FER2013's malformed rows and pictures out, and count them",
    )
    parser.add_argument(
        "--landmark-cache",
        type=str,
        help="folder that keeps faces' landmarks, for networks that see them",
    )
    parser.add_argument("--predictions", type=str, help="csv to write with one row for each clip")
    parser.add_argument(
        "--figures",
        type=str,
        help="folder for pictures: confusion; for faces also reliability, risk-coverage",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)

    from emotemporal.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(options.checkpoint)
    data = Path(options.data)
    protocol = _protocol_of(data, options)
    document: dict[str, Any] = {
        "protocol": protocol,
        "checkpoint": checkpoint.identity(),
        "data": str(data),
    }
    label_set = "fer7" if options.labels == "fer2013" else options.labels
    if protocol not in _OF_FACES:
        document |= _evaluate_clips(checkpoint, data, label_set, options, protocol)
    else:
        label_set = "ferplus" if protocol == "ferplus" else label_set
        document |= _evaluate_faces(checkpoint, data, label_set, options)
    if options.json:
        print(json.dumps(document))
    else:
        _print_report(document)
    return EXIT_OK


def _protocol_of(data: Path, options: Any) -> str:
    """Return what is to be measured: as asked, or as the data are; flags that do not fit are refused."""
    from emotemporal.datasets.fer2013 import is_fer2013

    faces = "ferplus" if options.labels == "ferplus" else "fer2013"
    protocol = options.protocol or (faces if is_fer2013(data) else "clips")
    # FER+'s annotators are another truth; every other set is made from FER2013's own labels.
    if options.labels is not None and (options.labels == "ferplus") != (protocol == "ferplus"):
        raise UsageError(f"--labels {options.labels} does not go with --protocol {protocol}")
    if protocol not in _OF_FACES and options.flip:
        raise UsageError("--flip is for FER2013's faces, not for clips")
    if protocol in _OF_FACES and options.predictions:
        raise UsageError("--predictions is for clips, not for FER2013's faces")
    return protocol


def _evaluate_faces(
    checkpoint: "Checkpoint", data: Path, label_set: str | None, options: Any
) -> dict[str, Any]:
    from emotemporal.datasets.fer2013 import read_fer2013
    from emotemporal.pipeline import choose_device
    from emotemporal.training.evaluation import predict_frames

    votes = data.parent / "fer2013new.csv" if label_set == "ferplus" else None
    split = options.split or "PrivateTest"
    faces = read_fer2013(data, ferplus=votes, skip_bad=options.skip_bad).split(split)
    if faces.skipped:
        print(f"warning: skipped {len(faces.skipped)}, the first: {faces.skipped[0]}", file=sys.stderr)
    device = choose_device(options.device).type
    predicted = predict_frames(
        checkpoint,
        faces,
        labels=label_set,
        flip=options.flip,
        device=device,
        landmark_cache=Path(options.landmark_cache) if options.landmark_cache else None,
    )
    found = predicted.metrics()
    label_set = label_set or checkpoint.header.main_classifier
    if options.figures:
        title = f"{label_set}, {split}: {found['num']} faces, accuracy {found['accuracy']:.1%}"
        _write_face_figures(Path(options.figures), predicted, title)
    how = {"split": split, "flip": options.flip, "label_set": label_set}
    return {**how, "num_skipped": len(faces.skipped), **found}


def _evaluate_clips(
    checkpoint: "Checkpoint", data: Path, label_set: str | None, options: Any, protocol: str
) -> dict[str, Any]:
    from emotemporal.checkpoint import build_classifier, choose_labels
    from emotemporal.datasets.sequences import load_sequences
    from emotemporal.datasets.splits import split_clips
    from emotemporal.labelling.aggregation import AGGREGATIONS
    from emotemporal.pipeline import choose_device
    from emotemporal.training.evaluation import clip_report, fold_report, predict_clips, write_predictions

    source, label_map = choose_labels(checkpoint, label_set)
    classifier = build_classifier(checkpoint, classifier=source, device=choose_device(options.device))
    if classifier.num_landmarks:
        raise UsageError(
            f"{checkpoint.path}: sees {classifier.num_landmarks} landmarks, which extracted clips lack; "
            "measure it on FER2013, or label videos with predict-clip"
        )
    splits = [options.split] if options.split else []
    # Only a set that was asked for leaves clips out: without, a label the network does not know is an error.
    emotions = label_map.target if label_set else ()
    with tempfile.TemporaryDirectory() as temporary:
        sees_geometry = classifier.head is not None and classifier.head.spec.sees_geometry
        store = _open_or_extract(checkpoint, data, Path(temporary), options.device, landmarks68=sees_geometry)
        clips = load_sequences(store, classifier, splits=splits, emotions=emotions, on_line=_warn)
        num_all = sum(not splits or row.split in splits for row in store.read_index())
    num_left_out = num_all - len(clips)
    held_out = {}
    if protocol != "clips":
        held_out = {fold.name: [clips[i] for i in fold.test] for fold in split_clips(protocol, clips)}
        clips = [clip for part in held_out.values() for clip in part]
    num_trained = _num_trained_on(checkpoint, clips, protocol)
    predictions = predict_clips(classifier, clips, label_map=label_map)
    if options.predictions:
        write_predictions(options.predictions, predictions, label_map.target)
    aggregations = AGGREGATIONS if classifier.head is not None else ("sum", "vote")
    report = clip_report(predictions, label_map.target, aggregations)
    if options.figures:
        _write_clip_figures(Path(options.figures), report)
    document = {
        "split": options.split or ("validation" if protocol == "train-validation" else "all"),
        "label_set": label_set or source,
        "num": report["num"],
        "num_left_out": num_left_out,
        "num_trained_on": num_trained,
        "labels": list(label_map.target),
        **report["aggregations"],
    }
    if len(held_out) > 1:
        parts = {name: [clip.clip_id for clip in part] for name, part in held_out.items()}
        document["folds"] = fold_report(predictions, parts, aggregations)
    return document


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _num_trained_on(checkpoint: "Checkpoint", clips: "list[ClipSequence]", protocol: str) -> int | None:
    """Return how many of the clips the head was trained on, None where the checkpoint does not say.

    Raises:
        UsageError: there are some, and a named split was asked for.
    """
    if checkpoint.header.kind != "clip":
        return 0
    trained = checkpoint.header.training.get("sources")
    if trained is None:
        name = checkpoint.header.training.get("data", "unknown clips")
        print(
            f"warning: the head's training ({name}) is not listed; make sure these are others",
            file=sys.stderr,
        )
        return None
    trained = set(trained)
    num = sum(clip.source in trained for clip in clips)
    if not num:
        return 0
    found = f"{num} of the {len(clips)} clips are among those that the head was trained on"
    if protocol != "clips":
        raise UsageError(f"{found}: --protocol {protocol} would not be fair; see the training's report.json")
    print(f"warning: {found}", file=sys.stderr)
    return num


def _write_face_figures(folder: Path, predicted: "FramePrediction", title: str) -> None:
    from emotemporal.labelling.calibration import risk_coverage
    from emotemporal.report.plots import plot_confusion, plot_reliability, plot_risk_coverage, save_figure

    found = predicted.metrics()
    save_figure(plot_confusion(found["confusion"], predicted.names, title=title), folder / "confusion.png")
    reliability = plot_reliability(predicted.probs, predicted.labels, title=title)
    save_figure(reliability, folder / "reliability.png")
    curve = risk_coverage(predicted.probs, predicted.labels)
    save_figure(plot_risk_coverage({"by confidence": curve}, title=title), folder / "risk_coverage.png")


def _write_clip_figures(folder: Path, report: dict[str, Any]) -> None:
    from emotemporal.report.plots import plot_confusion, save_figure

    for name, found in report["aggregations"].items():
        title = f"{name}: {report['num']} clips, accuracy {found['accuracy']:.1%}"
        if found["num_without_prediction"]:
            # They stand in no column of the matrix, but count as errors.
            title += f"\n{found['num_without_prediction']} clips without a face are not shown"
        figure = plot_confusion(found["confusion"], found["labels"], title=title)
        save_figure(figure, folder / f"confusion_{name}.png")


def _open_or_extract(
    checkpoint: "Checkpoint", data: Path, temporary: Path, device: str, *, landmarks68: bool
) -> "CropStore":
    from emotemporal.datasets.crops import CropStore
    from emotemporal.datasets.registry import read_clips
    from emotemporal.errors import VideoError
    from emotemporal.extraction import extract_faces
    from emotemporal.faces.detector import MtcnnDetector
    from emotemporal.pipeline import choose_device

    geometry = checkpoint.header.geometry
    if (data / "store.json").is_file():
        store = CropStore.open(data)
        store.require_geometry(geometry)
        if landmarks68:
            store.require_landmarks68()
        return store
    found = read_clips(data, merge_calm="calm" not in checkpoint.header.labels)
    for note in found.notes:
        print(note, file=sys.stderr)
    store = CropStore.create(temporary / "store", geometry, {}, landmarks68=landmarks68)

    def on_failure(item: Any, reason: str) -> None:
        # An evaluation that leaves out what it cannot read would flatter the checkpoint.
        raise VideoError(reason)

    make_detector = partial(MtcnnDetector, device=choose_device(device).type)
    extract_faces(found.items, store, make_detector, on_failure=on_failure)
    return store


def _print_report(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from emotemporal.labelling.aggregation import AGGREGATIONS

    console = Console(soft_wrap=True)
    facts = [document["protocol"], document["split"], document["label_set"], f"{document['num']} items"]
    if document["num_left_out"]:
        facts.append(f"{document['num_left_out']} left out")
    console.print(" · ".join(facts), highlight=False)
    columns = {name: document[name] for name in AGGREGATIONS if name in document} or {"frames": document}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for key in ("accuracy", "uar", "macro_f1", "ece"):
        values = [found[key] for found in columns.values()]
        table.add_row(key, *("–" if value is None else f"{value:.4f}" for value in values))
    for emotion in document["labels"]:
        recalls = [found["per_class_recall"][emotion] for found in columns.values()]
        table.add_row(f"recall {emotion}", *("–" if r is None else f"{r:.3f}" for r in recalls))
    console.print(table)
    for name, found in columns.items():
        if found.get("interval"):
            low, high = found["interval"]
            console.print(f"{name}: 95 % interval of the accuracy {low:.3f} to {high:.3f}", highlight=False)
    for name, found in document.get("folds", {}).items():
        mean, spread, num = found["mean"], found["deviation"], len(found["accuracy"])
        console.print(f"{name}: {num} folds, accuracy {mean:.3f} ± {spread:.3f}", highlight=False)
    missing = next(iter(columns.values()))["num_without_prediction"]
    if missing:
        print(f"{missing} clips without a face count as errors", file=sys.stderr)
