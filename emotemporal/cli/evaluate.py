"""`emotemporal evaluate`: measure a checkpoint on labelled data."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from emotemporal.cli.common import EXIT_OK, guarded, make_parser, tell
from emotemporal.datasets.splits import PROTOCOLS
from emotemporal.errors import UsageError
from emotemporal.faces.choice import DETECTOR_HELP, DetectorChoice
from emotemporal.labels import LABEL_SETS

if TYPE_CHECKING:
    from emotemporal.checkpoint import Checkpoint
    from emotemporal.datasets.crops import CropStore
    from emotemporal.datasets.sequences import ClipSequence
    from emotemporal.report.evaluation import Beliefs
    from emotemporal.training.evaluation import ClipPrediction

_OF_FACES = ("fer2013", "ferplus")
# Flags that say how a checkpoint is measured.
_OF_CHECKPOINTS = (
    "checkpoint",
    "data",
    "protocol",
    "labels",
    "split",
    "flip",
    "skip-bad",
    "landmark-cache",
    "detector",
)


def _parser() -> ArgumentParser:
    parser = make_parser(
        "evaluate",
        "Measure a checkpoint: its frame network on FER2013, or all of it on labelled clips. "
        "A clip in which no face is found counts as an error.",
    )
    parser.add_argument("--checkpoint", type=str)
    parser.add_argument("--data", type=str, help="FER2013 csv; or a crop store, manifest or folder of clips")
    parser.add_argument(
        "--cross-validation",
        type=str,
        nargs="+",
        metavar="RUN_FOLDER",
        help="instead of checkpoint and data: what train-clip measured on people held out; several folders "
        "of runs that differ in run.seed give means over seeds",
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
    parser.add_argument(
        "--report",
        type=str,
        metavar="DIR",
        help="folder to write report.md, report.json, pictures of confusion and calibration, and of clips "
        "predictions.csv",
    )
    parser.add_argument("--detector", type=str, help=f"of clips that are videos: {DETECTOR_HELP}")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser


@dataclass(frozen=True, eq=False)
class _Measured:
    document: dict[str, Any]
    beliefs: "Beliefs"
    tables: "dict[str, list[ClipPrediction]]" = field(default_factory=dict)
    """Name of a csv -> its rows."""


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    measured = _evaluate_runs(options) if options.cross_validation else _evaluate_checkpoint(options)
    document = measured.document
    if options.report:
        _write_report(Path(options.report), measured)
    if options.json:
        print(json.dumps(document))
    else:
        _print_report(document)
    return EXIT_OK


def _evaluate_runs(options: Any) -> _Measured:
    from emotemporal.training.cross_validation import measure_cross_validation, read_cross_validation
    from emotemporal.training.evaluation import coverage_report

    given = [name for name in _OF_CHECKPOINTS if getattr(options, name.replace("-", "_"))]
    if given:
        raise UsageError(f"--{given[0]} does not go with --cross-validation, whose predictions are made")
    runs = [read_cross_validation(folder) for folder in options.cross_validation]
    document = {"split": "held out", "num_left_out": 0, **measure_cross_validation(runs)}
    predictions = [prediction for run in runs for prediction in run.predictions]
    document["coverage"] = coverage_report(predictions, runs[0].aggregations)
    names = ["predictions.csv"] if len(runs) == 1 else [f"predictions_seed{run.seed}.csv" for run in runs]
    tables = {name: run.predictions for name, run in zip(names, runs, strict=True)}
    return _Measured(document, _beliefs(predictions, document), tables)


def _evaluate_checkpoint(options: Any) -> _Measured:
    from emotemporal.checkpoint import load_checkpoint

    for name in ("checkpoint", "data"):
        if getattr(options, name) is None:
            raise UsageError(f"--{name} is missing; give --checkpoint and --data, or --cross-validation")
    checkpoint = load_checkpoint(options.checkpoint)
    data = Path(options.data)
    protocol = _protocol_of(data, options)
    label_set = "fer7" if options.labels == "fer2013" else options.labels
    if protocol not in _OF_FACES:
        measured = _evaluate_clips(checkpoint, data, label_set, options, protocol)
    else:
        label_set = "ferplus" if protocol == "ferplus" else label_set
        measured = _evaluate_faces(checkpoint, data, label_set, options)
    facts = {"protocol": protocol, "checkpoint": checkpoint.identity(), "data": str(data)}
    return replace(measured, document=facts | measured.document)


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
    if options.detector and (protocol in _OF_FACES or (data / "store.json").is_file()):
        raise UsageError(
            "--detector is for videos; FER2013's faces and those of a crop store are cut already"
        )
    return protocol


def _evaluate_faces(checkpoint: "Checkpoint", data: Path, label_set: str | None, options: Any) -> _Measured:
    from emotemporal.datasets.fer2013 import read_fer2013
    from emotemporal.runtime import choose_device
    from emotemporal.training.evaluation import predict_frames

    votes = data.parent / "fer2013new.csv" if label_set == "ferplus" else None
    split = options.split or "PrivateTest"
    faces = read_fer2013(data, ferplus=votes, skip_bad=options.skip_bad).split(split)
    if faces.skipped:
        tell(f"warning: skipped {len(faces.skipped)}, the first: {faces.skipped[0]}")
    device = choose_device(options.device)
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
    how = {"split": split, "flip": options.flip, "label_set": label_set}
    document = {**how, "num_skipped": len(faces.skipped), **found}
    return _Measured(document, {"frames": (predicted.probs, predicted.labels)})


def _evaluate_clips(
    checkpoint: "Checkpoint", data: Path, label_set: str | None, options: Any, protocol: str
) -> _Measured:
    from emotemporal.datasets.sequences import load_sequences
    from emotemporal.datasets.splits import split_clips
    from emotemporal.labelling.aggregation import AGGREGATIONS
    from emotemporal.networks import build_classifier, choose_labels
    from emotemporal.runtime import choose_device
    from emotemporal.training.evaluation import clip_report, coverage_report, fold_report, predict_clips

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
        store = _open_or_extract(checkpoint, data, Path(temporary), options, landmarks68=sees_geometry)
        clips = load_sequences(store, classifier, splits=splits, emotions=emotions, on_line=_warn)
        num_all = sum(not splits or row.split in splits for row in store.read_index())
    num_left_out = num_all - len(clips)
    held_out = {}
    if protocol != "clips":
        held_out = {fold.name: [clips[i] for i in fold.test] for fold in split_clips(protocol, clips)}
        clips = [clip for part in held_out.values() for clip in part]
    num_trained = _num_trained_on(checkpoint, clips, protocol)
    predictions = predict_clips(classifier, clips, label_map=label_map)
    aggregations = AGGREGATIONS if classifier.head is not None else ("sum", "vote")
    report = clip_report(predictions, label_map.target, aggregations)
    document = {
        "split": options.split or ("validation" if protocol == "train-validation" else "all"),
        "label_set": label_set or source,
        "detector": store.provenance.get("detector"),
        "num": report["num"],
        "num_left_out": num_left_out,
        "num_trained_on": num_trained,
        "labels": list(label_map.target),
        **report["aggregations"],
        "coverage": coverage_report(predictions, aggregations),
    }
    if len(held_out) > 1:
        parts = {name: [clip.clip_id for clip in part] for name, part in held_out.items()}
        document["folds"] = fold_report(predictions, parts, aggregations)
    return _Measured(document, _beliefs(predictions, document), {"predictions.csv": predictions})


def _warn(line: str) -> None:
    tell(line)


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
        tell(f"warning: the head's training ({name}) is not listed; make sure these are others")
        return None
    trained = set(trained)
    num = sum(clip.source in trained for clip in clips)
    if not num:
        return 0
    found = f"{num} of the {len(clips)} clips are among those that the head was trained on"
    if protocol != "clips":
        raise UsageError(f"{found}: --protocol {protocol} would not be fair; see the training's report.json")
    tell(f"warning: {found}")
    return num


def _open_or_extract(
    checkpoint: "Checkpoint", data: Path, temporary: Path, options: Any, *, landmarks68: bool
) -> "CropStore":
    from emotemporal.datasets.crops import CropStore
    from emotemporal.datasets.registry import read_clips
    from emotemporal.errors import VideoError
    from emotemporal.extraction import extract_faces
    from emotemporal.runtime import choose_backend, choose_device

    geometry = checkpoint.header.geometry
    if (data / "store.json").is_file():
        store = CropStore.open(data)
        store.require_geometry(geometry)
        if landmarks68:
            store.require_landmarks68()
        return store
    found = read_clips(data, merge_calm="calm" not in checkpoint.header.labels)
    for note in found.notes:
        tell(note)
    detector = DetectorChoice.parse(options.detector or "mtcnn")
    provenance = {"detector": detector.identity()}
    store = CropStore.create(temporary / "store", geometry, provenance, landmarks68=landmarks68)

    def on_failure(item: Any, reason: str) -> None:
        # An evaluation that leaves out what it cannot read would flatter the checkpoint.
        raise VideoError(reason)

    chosen = choose_device(options.device)
    make_detector = partial(detector.make, chosen, choose_backend("auto", chosen))
    extract_faces(found.items, store, make_detector, on_failure=on_failure)
    return store


def _beliefs(predictions: "Sequence[ClipPrediction]", document: dict[str, Any]) -> "Beliefs":
    """Gather probabilities and truth of the clips that show a face, for each aggregation."""
    import numpy as np

    from emotemporal.labelling.aggregation import AGGREGATIONS

    beliefs = {}
    for name in (name for name in AGGREGATIONS if name in document):
        said = [prediction for prediction in predictions if name in prediction.probs]
        probs = np.reshape([prediction.probs[name] for prediction in said], (-1, len(document["labels"])))
        beliefs[name] = probs, np.array([prediction.label for prediction in said], dtype=np.int64)
    return beliefs


def _write_report(folder: Path, measured: _Measured) -> None:
    from emotemporal.report.evaluation import write_evaluation
    from emotemporal.training.evaluation import write_predictions

    write_evaluation(folder, measured.document, measured.beliefs)
    for name, predictions in measured.tables.items():
        write_predictions(folder / name, predictions, measured.document["labels"])


def _print_report(document: dict[str, Any]) -> None:
    from rich.console import Console

    from emotemporal.report.evaluation import print_evaluation

    print_evaluation(document, Console(soft_wrap=True))
    missing = next((document[name] for name in ("head", "sum") if name in document), document)
    if missing["num_without_prediction"]:
        tell(f"{missing['num_without_prediction']} clips without a face count as errors")
