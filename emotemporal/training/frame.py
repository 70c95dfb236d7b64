"""Train a frame network on labelled face pictures."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from scipy.special import log_softmax
from torch import Tensor
from torch.nn import functional as F

from emotemporal import __version__
from emotemporal.checkpoint import CheckpointHeader, file_sha256, load_checkpoint, save_checkpoint
from emotemporal.datasets.face_landmarks import face_landmarks
from emotemporal.datasets.fer2013 import (
    FaceImages,
    ferplus_distribution,
    ferplus_majority,
    read_fer2013,
)
from emotemporal.errors import DataError, UsageError
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.labels import FER7, FERPLUS8, LABEL_SETS, LabelMap
from emotemporal.models.backbone import build_backbone, normalise_crops
from emotemporal.models.mixed import landmark_vector
from emotemporal.models.network import FrameNetwork
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.report.plots import plot_confusion, render_figure
from emotemporal.training.augmentation import augment_faces, augment_faces_with_landmarks, mix_pairs
from emotemporal.training.config import FrameConfig
from emotemporal.training.distillation import teacher_probs
from emotemporal.training.engine import RunFolder, Trainer, make_fabric, settings_of
from emotemporal.training.metrics import classification_metrics
from emotemporal.weights import load_frame_network

# A picture of some 550 px a side, 40 kB an epoch.
_PICTURE_DPI = 80


class _TrainingData(NamedTuple):
    """What a training goes through every epoch."""

    images: np.ndarray
    """uint8 (N, S, S), gray."""
    landmarks: np.ndarray | None
    """float32 (N, P, 2), where the network sees them."""
    targets: Mapping[str, Tensor]
    """Label set -> float32 (N, C)."""


def train_frame(config: FrameConfig, *, on_line: Callable[[str], None] = print) -> Path:
    """Train a frame network on FER2013's Training split, choosing the best epoch on PublicTest.

    Class folders without such a split give a tenth of their training faces to it.

    Args:
        config: the run.
        on_line: receives one line for each epoch.
    Returns: path of the best checkpoint, `best.safetensors` in the run folder.
    Raises:
        DataError: the data are malformed.
        TrainingError: the loss became no number, or ImageNet's weights are not to be had.
        UsageError: the settings contradict each other, the run folder, or what is installed.
        OutputError: the run folder cannot be written.
    """
    faces = read_fer2013(config.data, ferplus=config.ferplus, skip_bad=config.skip_bad).with_validation()
    train, validation = (_in_label_set(faces.split(s), config.label_set) for s in ("Training", "PublicTest"))
    label_sets: dict[str, tuple[str, ...]] = {config.label_set: LABEL_SETS[config.label_set]}
    if train.votes is not None:
        label_sets["ferplus8"] = FERPLUS8
    spec = replace(config.backbone, label_sets=label_sets)

    fabric = make_fabric(config.run)
    inputs = {"faces": hashlib.sha256(train.images.tobytes() + train.labels.tobytes()).hexdigest()}
    if config.initial is not None:
        inputs["initial"] = file_sha256(config.initial)
    inputs |= {f"teacher {i}": file_sha256(path) for i, path in enumerate(config.teachers)}
    folder = RunFolder(config.run, settings_of(config), inputs) if fabric.is_global_zero else None
    if faces.skipped and folder is not None:
        on_line(f"skipped {len(faces.skipped)} of the data, the first: {faces.skipped[0]}")
    if config.pretrained and folder is not None:
        on_line(f"ImageNet weights of {spec.name}: fetched, or taken from torch's cache")
    network = _initial_network(config, spec).to(memory_format=torch.channels_last)
    train_points, validation_points = (
        _find_landmarks(config, faces, fabric, on_line) for faces in (train, validation)
    )
    local_batch = max(1, config.optim.batch_size // fabric.world_size)
    steps_per_epoch = len(train) // (local_batch * fabric.world_size)
    if steps_per_epoch == 0:
        raise DataError(f"{config.data}: {len(train)} training faces are fewer than optim.batch_size")
    trainer = Trainer(
        network, optim=config.optim, run=config.run, fabric=fabric, steps_per_epoch=steps_per_epoch
    )
    # All processes go on from what the first one finds.
    state = fabric.broadcast(None if folder is None else folder.load_state())
    if state is not None:
        trainer.restore(state)
        if folder is not None:
            on_line(f"resuming after epoch {trainer.epoch} of {config.optim.epochs}")
    data = _TrainingData(train.images, train_points, _targets(config, spec, train, fabric.device))
    best_path = config.run.folder / "best.safetensors"
    while trainer.epoch < config.optim.epochs:
        started = time.perf_counter()
        loss = _train_epoch(trainer, data, config, local_batch)
        trainer.epoch += 1
        logits = run_backbone(
            trainer.average, validation.images, device=fabric.device, landmarks=validation_points
        )
        metrics, confusion = _validation_metrics(logits[config.label_set], validation.labels, spec)
        seconds = time.perf_counter() - started
        metrics = {"train_loss": loss, **metrics, "faces_per_second": len(train) / seconds}
        if folder is not None:
            if metrics["accuracy"] > trainer.best:
                trainer.best = metrics["accuracy"]
                header = _header(config, spec, logits, validation, trainer.epoch, metrics)
                tensors = {f"backbone.{k}": v for k, v in trainer.average.state_dict().items()}
                save_checkpoint(best_path, header, tensors)
            line = folder.log_epoch(trainer.epoch, metrics)
            folder.save_state(trainer.state())
            title = f"PublicTest after epoch {trainer.epoch}: accuracy {metrics['accuracy']:.1%}"
            picture = render_figure(
                plot_confusion(confusion, LABEL_SETS[config.label_set], title=title), dpi=_PICTURE_DPI
            )
            folder.log_picture("confusion", picture, trainer.epoch)
            on_line(line)
        fabric.barrier()
    if folder is not None:
        folder.close()
    return best_path


def _in_label_set(faces: FaceImages, label_set: str) -> FaceImages:
    """Return faces without those that a set leaves out, their labels positions in the set."""
    labels = LabelMap.between(FER7, LABEL_SETS[label_set]).map_labels(faces.labels)
    kept = labels >= 0
    if not kept.any():
        raise DataError(f"none of {len(faces)} {faces.splits[0]} faces shows an emotion of {label_set}")
    return replace(faces, labels=labels).rows(kept)


def _initial_network(config: FrameConfig, spec: BackboneSpec) -> FrameNetwork:
    if config.initial is None:
        network = build_backbone(spec)
        if config.pretrained:
            # Importing torchvision takes two seconds.
            from emotemporal.models.transfer import TransferNetwork

            assert isinstance(network, TransferNetwork)  # the configuration refuses it for others
            network.load_imagenet()
        return network
    checkpoint = load_checkpoint(config.initial)
    found = checkpoint.header.backbone
    if replace(found, dropout=spec.dropout) != spec:
        raise UsageError(f"initial {config.initial}: its dimensions {found} are not those asked for, {spec}")
    return load_frame_network(checkpoint)


def _targets(
    config: FrameConfig, spec: BackboneSpec, train: FaceImages, device: torch.device
) -> dict[str, Tensor]:
    """Return label set -> what each training face should be called, (N, C); a row without votes is zero."""
    labels, num_classes = torch.from_numpy(train.labels), len(LABEL_SETS[config.label_set])
    targets: dict[str, Tensor] = {config.label_set: _soft_labels(labels, num_classes, config.label_smoothing)}
    if train.votes is not None:
        targets["ferplus8"] = torch.from_numpy(ferplus_distribution(train.votes))
    if config.teachers:
        share = config.teacher_weight
        believed = teacher_probs(config.teachers, train.images, spec, device=device)
        for name, target in targets.items():
            targets[name] = (1 - share) * target + share * torch.from_numpy(believed[name])
    return targets


def _find_landmarks(
    config: FrameConfig, faces: FaceImages, fabric: Fabric, on_line: Callable[[str], None]
) -> np.ndarray | None:
    """Return the landmarks (N, P, 2) that the network is to see, None where it sees none."""
    num_points = config.backbone.landmarks
    if num_points == 0:
        return None
    folder = config.landmark_cache or config.run.folder
    if fabric.is_global_zero:
        on_line(f"{num_points} landmarks of {len(faces)} faces: found, or taken from {folder}")
        face_landmarks(faces.images, num_points, folder=folder)
    fabric.barrier()
    return face_landmarks(faces.images, num_points, folder=folder)


def _train_epoch(trainer: Trainer, data: _TrainingData, config: FrameConfig, local_batch: int) -> float:
    """Go once through the training faces; returns the mean loss."""
    fabric = trainer.fabric
    shared_rng, rng = trainer.epoch_generators()
    order = torch.randperm(len(data.images), generator=shared_rng).numpy()
    images = torch.from_numpy(data.images)
    trainer.network.train()
    total = torch.zeros((), device=fabric.device)
    for step in range(trainer.steps_per_epoch):
        # Every process draws the same order and takes its own slice of each global batch.
        start = (step * fabric.world_size + fabric.global_rank) * local_batch
        rows = order[start : start + local_batch]
        batch = images[rows].to(fabric.device, torch.float32)
        vector = None
        if data.landmarks is None:
            batch = augment_faces(batch, config.augmentation, rng)
        else:
            points = torch.from_numpy(data.landmarks[rows]).to(fabric.device)
            batch, points = augment_faces_with_landmarks(batch, points, config.augmentation, rng)
            vector = landmark_vector(points)
        batch, partner, weight = mix_pairs(batch, config.augmentation.mixup_alpha, rng)
        if vector is not None:
            vector = weight * vector + (1 - weight) * vector[partner]
        inputs = normalise_crops(batch).contiguous(memory_format=torch.channels_last)
        logits = trainer.network(inputs, vector).logits
        losses = {
            name: _mixed_loss(logits[name], target[rows].to(fabric.device), partner, weight)
            for name, target in data.targets.items()
        }
        loss = losses[config.label_set]
        if "ferplus8" in losses:
            loss = loss + config.ferplus_weight * losses["ferplus8"]
        trainer.step(loss, step)
        total += loss.detach()
    return float(total) / trainer.steps_per_epoch


def _soft_labels(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(N,) -> (N, C): one-hot, with `smoothing` of the mass spread evenly (Szegedy et al. 2016)."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def _mixed_loss(logits: Tensor, target: Tensor, partner: Tensor, weight: float) -> Tensor:
    """Cross-entropy against the blend of own and partner's target; an all-zero target row adds nothing."""
    blend = weight * target + (1 - weight) * target[partner]
    return -(blend * logits.float().log_softmax(1)).sum(1).mean()


def _validation_metrics(
    logits: np.ndarray, labels: np.ndarray, spec: BackboneSpec
) -> tuple[dict[str, float], list[list[int]]]:
    """Return the figures of an epoch and the confusion matrix."""
    log_probs = log_softmax(logits, axis=1)
    names = next(iter(spec.label_sets.values()))
    found = classification_metrics(labels, logits.argmax(1), np.exp(log_probs), names)
    loss = -log_probs[np.arange(len(labels)), labels].mean()
    metrics = {"accuracy": found["accuracy"], "uar": found["uar"], "loss": float(loss), "ece": found["ece"]}
    return metrics, found["confusion"]


def _header(
    config: FrameConfig,
    spec: BackboneSpec,
    logits: Mapping[str, np.ndarray],
    validation: FaceImages,
    epoch: int,
    metrics: Mapping[str, float],
) -> CheckpointHeader:
    training: dict[str, Any] = {
        "data": config.data_name,
        "selected_on": "PublicTest",
        "epoch": epoch,
        "settings": settings_of(config),
        "versions": {"emotemporal": __version__, "torch": torch.__version__},
    }
    return CheckpointHeader(
        kind="frame",
        name=config.run.folder.name,
        labels=tuple(spec.label_sets[config.label_set]),
        backbone=spec,
        temperature=fit_temperature(logits[config.label_set], validation.labels),
        temperatures=_other_temperatures(logits, validation),
        training=training,
        licence=config.licence,
        metrics={"PublicTest": {name: metrics[name] for name in ("accuracy", "uar", "loss")}},
    )


def _other_temperatures(logits: Mapping[str, np.ndarray], validation: FaceImages) -> dict[str, float]:
    """Fit the temperature of the FER+ classifier, where there is one, to its annotators' majority.

    So a confidence says how often the majority agrees, which is what evaluation counts. The votes
    themselves, which the classifier learnt from, would leave it as it is: fitted on one half of PublicTest
    and measured on the other, their calibration error was 0.06 to 0.09, the majority's 0.02.
    """
    if "ferplus8" not in logits or validation.votes is None:
        return {}
    majority = ferplus_majority(validation.votes)
    clear = majority >= 0
    if not clear.any():
        return {}
    return {"ferplus8": fit_temperature(logits["ferplus8"][clear], majority[clear])}
