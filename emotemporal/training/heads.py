"""Train one temporal head."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from lightning.fabric import Fabric
from torch.nn import functional as F

from emotemporal.datasets.sequences import ClipSequence, collate
from emotemporal.errors import DataError
from emotemporal.models.temporal import TemporalHead
from emotemporal.structures import ClipBatch
from emotemporal.training.config import ClipConfig, SequenceAugmentation
from emotemporal.training.engine import RunFolder, Trainer


def trained_labels(clips: Sequence[ClipSequence]) -> list[int]:
    """Return the classes that a head can learn from these clips."""
    return sorted({clip.label for clip in clips if len(clip)})


def train_head(
    config: ClipConfig,
    clips: Sequence[ClipSequence],
    fabric: Fabric,
    *,
    num_classes: int | None = None,
    simulated: Sequence[ClipSequence] = (),
    on_line: Callable[[str], None] | None = None,
    folder: RunFolder | None = None,
) -> TemporalHead:
    """Train one head on the given clips, of which at least one shows a face.

    Args:
        config: the run.
        clips: all of them are learnt from.
        fabric: where it is trained.
        num_classes: C; None for that of the clips' evidence.
        simulated: clips of still faces by which its trust is set.
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
        assert appearance is not None  # who has no frame network names the classes
        num_classes = appearance.log_probs.shape[1]
    network = TemporalHead(
        config.head,
        embedding_dim=0 if appearance is None else appearance.embeddings.shape[1],
        num_classes=num_classes,
        trained_classes=trained_labels(usable),
    )
    _fit_scales(network, usable)
    if simulated and config.head.sees_appearance:
        network.fit_trust([_first_view(clip) for clip in simulated])
    steps = max(1, len(usable) // config.optim.batch_size)
    trainer = Trainer(network, optim=config.optim, run=config.run, fabric=fabric, steps_per_epoch=steps)
    state = None if folder is None else folder.load_state()
    if state is not None:
        trainer.restore(state)
    while trainer.epoch < config.optim.epochs:
        loss = _train_epoch(trainer, usable, config)
        trainer.epoch += 1
        if folder is not None:
            line = folder.log_epoch(trainer.epoch, {"train_loss": loss})
            folder.save_state(trainer.state())
            if on_line is not None and trainer.epoch % 10 == 0:
                on_line(line)
    return trainer.average


def _fit_scales(network: TemporalHead, clips: Sequence[ClipSequence]) -> None:
    if network.spec.sees_appearance:
        network.fit_scale([_first_view(clip) for clip in clips])
    if network.spec.sees_geometry:
        frames = np.concatenate([view for clip in clips for view in clip.geometry])
        network.fit_geometry_scale(torch.from_numpy(frames))


def _first_view(clip: ClipSequence) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings and times since the first frame."""
    seconds = torch.from_numpy(clip.pts_seconds - clip.pts_seconds[0]).float()
    return torch.from_numpy(clip.views[0].embeddings).float(), seconds


def _train_epoch(trainer: Trainer[TemporalHead], clips: Sequence[ClipSequence], config: ClipConfig) -> float:
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


def _loss(trainer: Trainer[TemporalHead], batch: ClipBatch, config: ClipConfig) -> torch.Tensor:
    noise = config.augmentation.embedding_noise
    embeddings = batch.embeddings
    if noise > 0 and embeddings is not None and config.head.sees_appearance:
        embeddings = embeddings + noise * embeddings.std() * torch.randn_like(embeddings)
    geometry = batch.geometry
    if geometry is not None and config.head.sees_geometry:
        moves = config.augmentation.face_noise * trainer.raw.geometry_scale
        geometry = geometry + moves * torch.randn_like(geometry[:, :1])
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
