"""Train a temporal head on clips of tracked faces, measured on people it has not seen."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch.nn import functional as F

from emotemporal import __version__
from emotemporal.checkpoint import Checkpoint, file_sha256, load_checkpoint, save_checkpoint, save_head
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.sequences import ClipSequence, add_geometry, collate, load_sequences
from emotemporal.datasets.splits import Fold, split_clips
from emotemporal.errors import DataError, UsageError
from emotemporal.faces.landmarks import MODEL_LICENCE
from emotemporal.files import save_json
from emotemporal.labelling.aggregation import AGGREGATIONS
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.temporal import TemporalHead, temper
from emotemporal.networks import build_classifier
from emotemporal.structures import ClipBatch
from emotemporal.training.config import ClipConfig, SequenceAugmentation
from emotemporal.training.engine import RunFolder, Trainer, make_fabric, settings_of
from emotemporal.training.evaluation import ClipPrediction, clip_report, predict_clips, write_predictions


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

    report: dict[str, Any] = {}
    temperature = 1.0
    if config.protocol != "none":
        folds = split_clips(config.protocol, clips, num_folds=config.num_folds)
        found = cross_validate(config, clips, folds, classifier, fabric, folder=folder.path, on_line=on_line)
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
    head = train_head(config, clips, fabric, on_line=on_line, folder=folder)
    path = folder.path / "best.safetensors"
    _save(path, config, frame, classifier, clips, head, temperature, report)
    folder.close()
    return path


def open_inputs(config: ClipConfig) -> tuple[Checkpoint, CropStore, dict[str, str]]:
    """Return the frame network, the store and their hashes, for a training that they fit.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: the store is none, cut in another geometry, or lacks landmarks that the head is to see.
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


def trained_labels(clips: Sequence[ClipSequence]) -> list[int]:
    """Return the classes that a head can learn from these clips."""
    return sorted({clip.label for clip in clips if len(clip)})


def cross_validate(
    config: ClipConfig,
    clips: Sequence[ClipSequence],
    folds: Sequence[Fold],
    classifier: EmotionClassifier,
    fabric: Fabric,
    *,
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
        folder: keeps finished folds, which are not run again.
        on_line: receives a line for each fold.
    """
    predictions = []
    for fold in folds:
        done = None if folder is None else folder / "folds" / f"{fold.name}.json"
        if done is not None and done.exists():
            found = [ClipPrediction.from_dict(values) for values in json.loads(done.read_text())]
        else:
            found = _run_fold(config, clips, fold, classifier, fabric)
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
    classifier: EmotionClassifier,
    fabric: Fabric,
) -> list[ClipPrediction]:
    head = train_head(config, [clips[i] for i in fold.train], fabric)
    with_head = EmotionClassifier(
        classifier.backbone,
        labels=classifier.labels,
        temperature=classifier.temperature,
        head=head,
        device=fabric.device,
    )
    return predict_clips(with_head, [clips[i] for i in fold.test])


def train_head(
    config: ClipConfig,
    clips: Sequence[ClipSequence],
    fabric: Fabric,
    *,
    num_classes: int | None = None,
    on_line: Callable[[str], None] | None = None,
    folder: RunFolder | None = None,
) -> TemporalHead:
    """Train one head on the given clips, of which at least one shows a face.

    Args:
        config: the run.
        clips: all of them are learnt from.
        fabric: where it is trained.
        num_classes: C; None for that of the clips' evidence.
        on_line: receives a line every ten epochs, where there is a folder.
        folder: with it the training is resumable and logged.
    Raises:
        DataError: the head is to see geometry, and a clip has no landmarks.
    """
    usable = [clip for clip in clips if len(clip)]
    if config.head.sees_geometry and not all(clip.geometry for clip in usable):
        raise DataError(
            f"{config.store}: head.streams {config.head.streams} needs 68 landmarks, which it lacks; "
            "run extract_faces --landmarks68"
        )
    torch.manual_seed(config.run.seed)
    appearance = usable[0].views[0] if usable[0].views else None
    if num_classes is None:
        num_classes = appearance.log_probs.shape[1]
    network = TemporalHead(
        config.head,
        embedding_dim=0 if appearance is None else appearance.embeddings.shape[1],
        num_classes=num_classes,
        trained_classes=trained_labels(usable),
    )
    _fit_scales(network, usable)
    steps = max(1, len(usable) // config.optim.batch_size)
    trainer = Trainer(network, optim=config.optim, run=config.run, fabric=fabric, steps_per_epoch=steps)
    state = None if folder is None else folder.load_state()
    if state is not None:
        trainer.restore(state)
    while trainer.epoch < config.optim.epochs:
        loss = _train_epoch(trainer, usable, config)
        trainer.epoch += 1
        if folder is not None:
            folder.save_state(trainer.state())
            line = folder.log_epoch(trainer.epoch, {"train_loss": loss})
            if on_line is not None and trainer.epoch % 10 == 0:
                on_line(line)
    return trainer.averaged.module


def _fit_scales(network: TemporalHead, clips: Sequence[ClipSequence]) -> None:
    if network.spec.sees_appearance:
        network.fit_scale(
            [
                (
                    torch.from_numpy(clip.views[0].embeddings).float(),
                    torch.from_numpy(clip.pts_seconds - clip.pts_seconds[0]).float(),
                )
                for clip in clips
            ]
        )
    if network.spec.sees_geometry:
        frames = np.concatenate([view for clip in clips for view in clip.geometry])
        network.fit_geometry_scale(torch.from_numpy(frames))


def _train_epoch(trainer: Trainer, clips: Sequence[ClipSequence], config: ClipConfig) -> float:
    rng = np.random.default_rng(trainer.epoch_generators()[0].initial_seed())
    order = rng.permutation(len(clips))
    trainer.network.train()
    total = torch.zeros((), device=trainer.fabric.device)
    size = config.optim.batch_size
    for step in range(trainer.steps_per_epoch):
        chosen = order[step * size : (step + 1) * size]
        parts = [(clips[i], *_draw_frames(clips[i], config.augmentation, rng)) for i in chosen]
        batch = collate(parts)
        if config.augmentation.max_stretch > 0:
            limit = config.augmentation.max_stretch
            pace = rng.uniform(1 - limit, 1 + limit, (len(parts), 1))
            batch = replace(batch, seconds=batch.seconds * torch.from_numpy(pace).float())
        batch = batch.to(trainer.fabric.device)
        loss = _loss(trainer, batch, config)
        trainer.step(loss, step)
        total += loss.detach()
    return float(total) / trainer.steps_per_epoch


def _loss(trainer: Trainer, batch: ClipBatch, config: ClipConfig) -> torch.Tensor:
    noise = config.augmentation.embedding_noise
    embeddings = batch.embeddings
    if noise > 0 and config.head.sees_appearance:
        embeddings = embeddings + noise * embeddings.std() * torch.randn_like(embeddings)
    geometry = batch.geometry
    if geometry is not None and config.head.sees_geometry:
        noise = config.augmentation.face_noise * trainer.raw.geometry_scale
        geometry = geometry + noise * torch.randn_like(geometry[:, :1])
    out = trainer.network(embeddings, batch.evidence, batch.seconds, batch.mask, geometry)
    clip_loss = F.cross_entropy(out.clip_logits, batch.labels, label_smoothing=config.label_smoothing)
    frame_labels = batch.labels[:, None].expand_as(batch.mask)[batch.mask]
    frame_loss = F.cross_entropy(
        out.frame_logits[batch.mask], frame_labels, label_smoothing=config.label_smoothing
    )
    return clip_loss + config.frame_weight * frame_loss + config.correction_weight * out.correction


def _draw_frames(
    clip: ClipSequence, config: SequenceAugmentation, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
    """Return a view and the positions of the frames to train on, at least one."""
    view = int(rng.integers(2)) if config.mirror else 0
    length = max(1, round(len(clip) * rng.uniform(config.min_share, 1.0)))
    start = int(rng.integers(len(clip) - length + 1))
    stride = int(rng.integers(1, config.max_stride + 1))
    rows = np.arange(start, start + length, stride)
    kept = rng.random(len(rows)) >= config.frame_dropout
    return view, rows[kept] if kept.any() else rows[:1]


def _save(
    path: Path,
    config: ClipConfig,
    frame: Checkpoint,
    classifier: EmotionClassifier,
    clips: Sequence[ClipSequence],
    head: TemporalHead,
    temperature: float,
    report: dict[str, Any],
) -> None:
    trained = trained_labels(clips)
    measured = {
        name: {key: found[key] for key in ("num", "accuracy", "uar", "macro_f1", "ece")}
        for name, found in report.get("aggregations", {}).items()
    }
    header = replace(
        frame.header,
        kind="clip",
        name=config.run.folder.name,
        head=config.head,
        trained_labels=tuple(classifier.labels[i] for i in trained),
        head_temperature=temperature,
        training={
            "data": f"{config.data_name}: {len(clips)} clips",
            # By which an evaluation can tell that it would measure on what was learnt.
            "sources": sorted({clip.source for clip in clips}),
            "frame_network": {"sha256": frame.sha256, **frame.header.training},
            "settings": settings_of(config),
            "versions": {"emotemporal": __version__, "torch": torch.__version__},
        },
        licence=f"{frame.header.licence}; head: {config.licence}"
        + (f"; {MODEL_LICENCE}" if config.head.sees_geometry else ""),
        metrics={config.protocol: measured} if measured else {},
    )
    tensors = dict(frame.tensors)
    tensors |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    save_checkpoint(path, header, tensors)
    save_head(path.with_name("head.safetensors"), header, tensors)
