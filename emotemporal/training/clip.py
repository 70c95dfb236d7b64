"""Train a temporal head on clips of tracked faces, measured on people it has not seen."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from emotemporal import __version__
from emotemporal.checkpoint import (
    Checkpoint,
    CheckpointHeader,
    file_sha256,
    load_checkpoint,
    save_checkpoint,
    save_head,
)
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.datasets.sequences import ClipSequence, add_geometry, load_sequences
from emotemporal.datasets.simulated import halve_faces, simulate_clips
from emotemporal.datasets.splits import Fold, split_clips
from emotemporal.errors import DataError, UsageError
from emotemporal.faces.landmarks import MODEL_LICENCE
from emotemporal.files import save_json
from emotemporal.labelling.aggregation import AGGREGATIONS
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.temporal import TemporalHead, temper
from emotemporal.models.torch_runners import TorchHead
from emotemporal.networks import build_classifier
from emotemporal.training.config import ClipConfig
from emotemporal.training.engine import RunFolder, make_fabric, settings_of
from emotemporal.training.evaluation import ClipPrediction, clip_report, predict_clips, write_predictions
from emotemporal.training.heads import train_head, trained_labels


def train_clip(config: ClipConfig, *, on_line: Callable[[str], None] = print) -> Path:
    """Measure a temporal head on people or videos it has not seen, then train it on all clips.

    After protocol `train-validation` the last training is on split `train` alone. The run folder receives
    `predictions.csv` and `report.json` of the measurement, `best.safetensors`, frame network included, and
    `head.safetensors`, the head alone.
    All epochs are run: nothing is chosen on held-out people.

    Args:
        config: the run.
        on_line: receives one line for each fold and epoch.
    Returns: path of the clip checkpoint.
    Raises:
        DataError: the store or its labels do not fit.
        CheckpointError: the frame checkpoint cannot be used.
    """
    frame, store, inputs = open_inputs(config)
    fabric = make_fabric(config.run)
    folder = RunFolder(config.run, settings_of(config), inputs)
    classifier, clips = load_clips(config, frame, store, fabric, on_line)
    simulated = load_simulated(config, classifier, on_line)

    report: dict[str, Any] = {}
    temperature = 1.0
    if config.protocol != "none":
        folds = split_clips(config.protocol, clips, num_folds=config.num_folds)
        found = cross_validate(
            config,
            clips,
            folds,
            classifier,
            fabric,
            simulated=simulated,
            folder=folder.path,
            on_line=on_line,
        )
        if config.protocol == "train-validation":
            clips = [clips[i] for i in folds[0].train]
        trained = trained_labels(clips)
        predictions = calibrate_folds(found, trained)
        temperature = fit_head_temperature([p for fold in found for p in fold], trained)
        report = clip_report(predictions, classifier.labels, AGGREGATIONS)
        save_json(folder.path / "report.json", report)
        write_predictions(folder.path / "predictions.csv", predictions, classifier.labels)
        for name, values in report["aggregations"].items():
            on_line(f"{name}: accuracy {values['accuracy']:.3f}, UAR {values['uar']:.3f}")
    head = train_head(config, clips, fabric, simulated=simulated, on_line=on_line, folder=folder)
    path = folder.path / "best.safetensors"
    header, tensors = clip_checkpoint(
        config, frame, classifier.labels, clips, simulated, head, temperature, report
    )
    save_checkpoint(path, header, tensors)
    save_head(path.with_name("head.safetensors"), header, tensors)
    folder.close()
    return path


def open_inputs(config: ClipConfig) -> tuple[Checkpoint, CropStore, dict[str, str]]:
    """Return the frame network, the store and their hashes, for a training that they fit.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: the store is none, cut in another geometry, or lacks landmarks that the head is to see; or
            a table of faces is missing.
        UsageError: more than one process was asked for.
    """
    frame = load_checkpoint(config.frame_checkpoint, kind="frame")
    store = CropStore.open(config.store)
    store.require_geometry(frame.header.geometry)
    if config.head.sees_geometry:
        store.require_landmarks68()
    if config.run.devices != 1:
        raise UsageError(f"run.devices {config.run.devices}: a head trains in one process, use 1")
    inputs = {"frame_checkpoint": frame.sha256, "store": file_sha256(Path(config.store) / "index.csv")}
    faces = config.simulated.faces
    if faces is not None:
        if not Path(faces).is_file():
            raise DataError(f"simulated.faces {faces}: no such file; expected FER2013 as a csv")
        inputs["simulated_faces"] = file_sha256(faces)
    return frame, store, inputs


def load_clips(
    config: ClipConfig,
    frame: Checkpoint,
    store: CropStore,
    fabric: Fabric,
    on_line: Callable[[str], None],
) -> tuple[EmotionClassifier, list[ClipSequence]]:
    """Return the frame network, and the clips as it sees them.

    Raises:
        DataError: a label is unknown to the network, or no clip shows a face.
    """
    classifier = build_classifier(frame, device=fabric.device)
    clips = load_sequences(store, classifier, subjects=config.subjects, on_line=on_line)
    # Whether the head sees it or not: a search may try other streams.
    clips = [add_geometry(clip) for clip in clips]
    empty = sum(not len(clip) for clip in clips)
    if empty == len(clips):
        raise DataError(f"{config.store}: none of its {len(clips)} clips shows a face")
    on_line(f"{len(clips)} clips, {empty} without a face")
    return classifier, clips


def load_simulated(
    config: ClipConfig, classifier: EmotionClassifier, on_line: Callable[[str], None]
) -> list[ClipSequence]:
    """Return clips made of faces that keep still, none unless they are asked for.

    Raises:
        DataError: the table of faces cannot be used.
    """
    settings = config.simulated
    if settings.faces is None:
        return []
    faces, _ = halve_faces(read_fer2013(settings.faces).split("PublicTest"))
    simulated = simulate_clips(faces, classifier, num_clips=settings.num_clips)
    on_line(f"{len(simulated)} clips simulated from {len(faces)} faces")
    return simulated


def cross_validate(
    config: ClipConfig,
    clips: Sequence[ClipSequence],
    folds: Sequence[Fold],
    classifier: EmotionClassifier,
    fabric: Fabric,
    *,
    simulated: Sequence[ClipSequence] = (),
    folder: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> list[list[ClipPrediction]]:
    """Predict the clips held out with heads that have not seen them.

    Args:
        config: the training.
        clips: all of them.
        folds: positions in these.
        classifier: the frame network.
        fabric: where heads are trained.
        simulated: clips of still faces by which every head's trust is set; none leaves it to the others.
        folder: keeps finished folds, which are not run again.
        on_line: receives a line for each fold.
    """
    predictions = []
    for fold in folds:
        done = None if folder is None else folder / "folds" / f"{fold.name}.json"
        if done is not None and done.exists():
            found = [ClipPrediction.from_dict(values) for values in json.loads(done.read_text())]
        else:
            found = _run_fold(config, clips, fold, simulated, classifier, fabric)
            if done is not None:
                done.parent.mkdir(exist_ok=True)
                save_json(done, [prediction.to_dict() for prediction in found])
        right = sum(prediction.pred("head") == prediction.label for prediction in found)
        on_line(f"fold {fold.name}: head {right} of {len(found)} right")
        predictions.append(found)
    return predictions


def fit_head_temperature(predictions: Sequence[ClipPrediction], trained: Sequence[int]) -> float:
    """Return the temperature that suits held-out predictions, among the trained classes."""
    seen = [p for p in predictions if "head" in p.probs and p.label in trained]
    if not seen:
        return 1.0
    logits = np.log(np.stack([p.probs["head"][list(trained)] for p in seen]).clip(1e-12))
    return fit_temperature(logits, np.array([trained.index(p.label) for p in seen]))


def calibrate_folds(folds: Sequence[list[ClipPrediction]], trained: Sequence[int]) -> list[ClipPrediction]:
    """Temper each fold's head by what suits the other folds, so that its calibration is a fair figure."""
    calibrated = []
    for i, fold in enumerate(folds):
        others = [p for j, other in enumerate(folds) if j != i for p in other]
        temperature = fit_head_temperature(others, trained)
        for prediction in fold:
            if "head" in prediction.probs:
                logits = torch.from_numpy(prediction.probs["head"]).clamp_min(1e-12).log()
                mask = torch.zeros(len(logits), dtype=torch.bool)
                mask[list(trained)] = True
                probs = temper(logits.log_softmax(0), mask, temperature).exp().numpy()
                prediction = replace(prediction, probs={**prediction.probs, "head": probs})
            calibrated.append(prediction)
    return calibrated


def _run_fold(
    config: ClipConfig,
    clips: Sequence[ClipSequence],
    fold: Fold,
    simulated: Sequence[ClipSequence],
    classifier: EmotionClassifier,
    fabric: Fabric,
) -> list[ClipPrediction]:
    head = train_head(config, [clips[i] for i in fold.train], fabric, simulated=simulated)
    with_head = classifier.with_head(TorchHead(head, device=fabric.device))
    return predict_clips(with_head, [clips[i] for i in fold.test])


def clip_checkpoint(
    config: ClipConfig,
    frame: Checkpoint,
    labels: Sequence[str],
    clips: Sequence[ClipSequence],
    simulated: Sequence[ClipSequence],
    head: TemporalHead,
    temperature: float,
    report: Mapping[str, Any],
) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Return header and tensors of a frame network with a head trained on it.

    Args:
        config: the training, whose `run.folder` gives the name.
        frame: the frame network.
        labels: its emotions.
        clips: that the head was trained on.
        simulated: clips of still faces that set its trust.
        head: trained.
        temperature: of the head, from people held out.
        report: of `clip_report` on these; empty where nothing was measured.
    """
    trained = trained_labels(clips)
    measured = {
        name: {key: found[key] for key in ("num", "accuracy", "uar", "macro_f1", "ece")}
        for name, found in report.get("aggregations", {}).items()
    }
    data = f"{config.data_name}: {len(clips)} clips"
    licence = config.licence
    if simulated:
        data += f"; trust by {len(simulated)} clips simulated from FER2013 faces (PublicTest, one half)"
        licence += "; FER2013: Kaggle challenge data, research use"
    header = replace(
        frame.header,
        kind="clip",
        name=config.run.folder.name,
        head=config.head,
        trained_labels=tuple(labels[i] for i in trained),
        head_temperature=temperature,
        training={
            "data": data,
            # By which an evaluation can tell that it would measure on what was learnt.
            "sources": sorted({clip.source for clip in clips}),
            "frame_network": {"sha256": frame.sha256, **frame.header.training},
            "settings": settings_of(config),
            "versions": {"emotemporal": __version__, "torch": torch.__version__},
        },
        licence=f"{frame.header.licence}; head: {licence}"
        + (f"; {MODEL_LICENCE}" if config.head.sees_geometry else ""),
        metrics={config.protocol: measured} if measured else {},
    )
    tensors = dict(frame.tensors)
    tensors |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    return header, tensors
