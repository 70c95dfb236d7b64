"""Train a frame network on labelled face pictures."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional as F

from emotemporal import __version__
from emotemporal.checkpoint import (
    CheckpointHeader,
    build_classifier,
    file_sha256,
    load_checkpoint,
    save_checkpoint,
)
from emotemporal.datasets.fer2013 import FaceImages, ferplus_distribution, read_fer2013
from emotemporal.errors import DataError, UsageError
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone, normalise_crops
from emotemporal.models.classifier import run_backbone
from emotemporal.models.specs import BackboneSpec
from emotemporal.report.plots import plot_confusion, render_figure
from emotemporal.training.augmentation import augment_faces, mix_pairs
from emotemporal.training.config import FrameConfig
from emotemporal.training.engine import RunFolder, Trainer, make_fabric, settings_of
from emotemporal.training.metrics import classification_metrics

# A picture of some 550 px a side, 40 kB an epoch.
_PICTURE_DPI = 80


def train_frame(config: FrameConfig, *, on_line: Callable[[str], None] = print) -> Path:
    """Train a frame network on FER2013's Training split, choosing the best epoch on PublicTest.

    Args:
        config: the run.
        on_line: receives one line for each epoch.
    Returns: path of the best checkpoint, `best.safetensors` in the run folder.
    Raises:
        DataError: the data are malformed.
        TrainingError: the loss became no number.
        OutputError: the run folder cannot be written.
    """
    faces = read_fer2013(config.data, ferplus=config.ferplus)
    train, validation = faces.split("Training"), faces.split("PublicTest")
    label_sets: dict[str, tuple[str, ...]] = {"fer7": FER7}
    if train.votes is not None:
        label_sets["ferplus8"] = FERPLUS8
    spec = replace(config.backbone, label_sets=label_sets)

    fabric = make_fabric(config.run)
    inputs = {"faces": hashlib.sha256(train.images.tobytes() + train.labels.tobytes()).hexdigest()}
    if config.initial is not None:
        inputs["initial"] = file_sha256(config.initial)
    folder = RunFolder(config.run, settings_of(config), inputs) if fabric.is_global_zero else None
    network = _initial_network(config, spec).to(memory_format=torch.channels_last)
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
    best_path = config.run.folder / "best.safetensors"
    while trainer.epoch < config.optim.epochs:
        started = time.perf_counter()
        loss = _train_epoch(trainer, train, config, local_batch)
        trainer.epoch += 1
        logits = run_backbone(trainer.averaged.module, validation.images, device=fabric.device)["fer7"]
        metrics, confusion = _validation_metrics(logits, validation.labels)
        seconds = time.perf_counter() - started
        metrics = {"train_loss": loss, **metrics, "faces_per_second": len(train) / seconds}
        if folder is not None:
            if metrics["accuracy"] > trainer.best:
                trainer.best = metrics["accuracy"]
                header = _header(config, spec, logits, validation, trainer.epoch, metrics)
                tensors = {f"backbone.{k}": v for k, v in trainer.averaged.module.state_dict().items()}
                save_checkpoint(best_path, header, tensors)
            folder.save_state(trainer.state())
            title = f"PublicTest after epoch {trainer.epoch}: accuracy {metrics['accuracy']:.1%}"
            picture = render_figure(plot_confusion(confusion, FER7, title=title), dpi=_PICTURE_DPI)
            folder.log_picture("confusion", picture, trainer.epoch)
            on_line(folder.log_epoch(trainer.epoch, metrics))
        fabric.barrier()
    if folder is not None:
        folder.close()
    return best_path


def _initial_network(config: FrameConfig, spec: BackboneSpec) -> nn.Module:
    if config.initial is None:
        return build_backbone(spec)
    checkpoint = load_checkpoint(config.initial)
    found = checkpoint.header.backbone
    if replace(found, dropout=spec.dropout) != spec:
        raise UsageError(f"initial {config.initial}: its dimensions {found} are not those asked for, {spec}")
    return build_classifier(checkpoint).backbone


def _train_epoch(trainer: Trainer, train: FaceImages, config: FrameConfig, local_batch: int) -> float:
    """Go once through the training faces; returns the mean loss."""
    fabric = trainer.fabric
    shared_rng, rng = trainer.epoch_generators()
    order = torch.randperm(len(train), generator=shared_rng).numpy()
    images = torch.from_numpy(train.images)
    labels = torch.from_numpy(train.labels)
    votes = None if train.votes is None else torch.from_numpy(ferplus_distribution(train.votes))
    trainer.network.train()
    total = torch.zeros((), device=fabric.device)
    for step in range(trainer.steps_per_epoch):
        # Every process draws the same order and takes its own slice of each global batch.
        start = (step * fabric.world_size + fabric.global_rank) * local_batch
        rows = order[start : start + local_batch]
        batch = images[rows].to(fabric.device, torch.float32)
        batch = augment_faces(batch, config.augmentation, rng)
        batch, partner, weight = mix_pairs(batch, config.augmentation.mixup_alpha, rng)
        target = _soft_labels(labels[rows], len(FER7), config.label_smoothing).to(fabric.device)
        inputs = normalise_crops(batch).contiguous(memory_format=torch.channels_last)
        logits = trainer.network(inputs).logits
        loss = _mixed_loss(logits["fer7"], target, partner, weight)
        if votes is not None:
            soft = votes[rows].to(fabric.device)
            loss = loss + config.ferplus_weight * _mixed_loss(logits["ferplus8"], soft, partner, weight)
        trainer.step(loss, step)
        total += loss.detach()
    return float(total) / trainer.steps_per_epoch


def _soft_labels(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(B,) -> (B, C): one-hot, with `smoothing` of the mass spread evenly (Szegedy et al. 2016)."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def _mixed_loss(logits: Tensor, target: Tensor, partner: Tensor, weight: float) -> Tensor:
    """Cross-entropy against the blend of own and partner's target; an all-zero target row adds nothing."""
    blend = weight * target + (1 - weight) * target[partner]
    return -(blend * logits.float().log_softmax(1)).sum(1).mean()


def _validation_metrics(logits: np.ndarray, labels: np.ndarray) -> tuple[dict[str, float], list[list[int]]]:
    """Return the figures of an epoch and the confusion matrix."""
    log_probs = log_softmax(logits, axis=1)
    found = classification_metrics(labels, logits.argmax(1), np.exp(log_probs), FER7)
    loss = -log_probs[np.arange(len(labels)), labels].mean()
    metrics = {"accuracy": found["accuracy"], "uar": found["uar"], "loss": float(loss), "ece": found["ece"]}
    return metrics, found["confusion"]


def _header(
    config: FrameConfig,
    spec: BackboneSpec,
    logits: np.ndarray,
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
        labels=FER7,
        backbone=spec,
        temperature=fit_temperature(logits, validation.labels),
        training=training,
        licence=config.licence,
        metrics={"PublicTest": {name: metrics[name] for name in ("accuracy", "uar", "loss")}},
    )
