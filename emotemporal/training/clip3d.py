"""Measure a 3D network, trained end to end on a clip's crops, on people or videos it has not seen."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from emotemporal.checkpoint import file_sha256
from emotemporal.datasets.crop_clips import CropClip, load_crop_clips, spread_frames
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.splits import Fold, Protocol, split_clips
from emotemporal.errors import DataError, UsageError
from emotemporal.files import save_json
from emotemporal.labels import FER7
from emotemporal.models.clip3d import Clip3dNetwork
from emotemporal.models.specs import Clip3dSpec
from emotemporal.training.config import OptimConfig, RunConfig
from emotemporal.training.engine import RunFolder, Trainer, make_fabric, settings_of
from emotemporal.training.evaluation import ClipPrediction, clip_report, write_predictions


@dataclass(frozen=True)
class PixelAugmentation:
    """Random changes to clips of crops, the same on all frames of a clip; zero switches a change off."""

    mirror: bool = True
    """Mirror half of the clips."""
    time_jitter: float = 1.0
    """Share of its part of the clip within which each frame is drawn; 0 takes the middle."""
    gamma: float = 0.4
    """Log-uniform exponent on brightness in plus or minus this."""
    scale: float = 0.15
    """Log-uniform zoom in plus or minus this."""
    shift: float = 0.10
    """Uniform, as a fraction of the side, in each direction."""


@dataclass(frozen=True)
class Clip3dConfig:
    """One cross-validated training of a 3D network."""

    store: Path = Path("crops")
    """Crop store made by extract_faces."""
    protocol: Protocol = "leave-one-subject-out"
    num_folds: int = 5
    """Of `subject-folds`."""
    subjects: Sequence[str] = ()
    """Use only these people; empty means all."""
    num_views: int = 4
    """Choices of frames of each held-out clip, whose probabilities are averaged."""
    label_smoothing: float = 0.1
    network: Clip3dSpec = field(default_factory=Clip3dSpec)
    augmentation: PixelAugmentation = field(default_factory=PixelAugmentation)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            epochs=40, batch_size=16, optimizer="adamw", lr=3e-3, weight_decay=0.05, ema_decay=0.98
        )
    )
    run: RunConfig = field(default_factory=lambda: RunConfig(folder=Path("runs/clip3d"), precision="32-true"))


def measure_clip3d(config: Clip3dConfig, *, on_line: Callable[[str], None] = print) -> dict[str, Any]:
    """Train one network for each fold and measure them on what they have not seen.

    The run folder receives `report.json` and `predictions.csv`, and in `folds/<name>` each fold's state and
    metrics: an interrupted run goes on with the epoch it was in. All epochs are run: nothing is chosen on
    held-out people.

    Args:
        config: the run.
        on_line: receives one line for each epoch and fold.
    Returns: as `clip_report` gives it; what the network says is `head`.
    Raises:
        DataError: the store or its labels do not fit.
        UsageError: the folder holds another run.
    """
    if config.run.devices != 1:
        raise UsageError(f"run.devices {config.run.devices}: a 3D network trains in one process, use 1")
    store = CropStore.open(config.store)
    clips = load_crop_clips(store, FER7, subjects=config.subjects)
    labels = [emotion for emotion in FER7 if any(clip.emotion == emotion for clip in clips)]
    folds = split_clips(config.protocol, clips, num_folds=config.num_folds)
    for fold in folds:
        if all(clips[i].crops is None for i in fold.train):
            raise DataError(f"{config.store}: fold {fold.name}: none of its training clips shows a face")
    fabric = make_fabric(config.run)
    inputs = {"store": file_sha256(Path(config.store) / "index.csv")}
    folder = RunFolder(config.run, settings_of(config), inputs)
    on_line(f"{len(clips)} clips, {sum(clip.crops is None for clip in clips)} without a face")
    predictions = []
    for fold in folds:
        found = _run_fold(config, clips, labels, fold, fabric, inputs, on_line)
        right = sum(prediction.pred("head") == prediction.label for prediction in found)
        on_line(f"fold {fold.name}: {right} of {len(found)} right")
        predictions += found
    report = clip_report(predictions, labels, ["head"])
    save_json(folder.path / "report.json", report)
    write_predictions(folder.path / "predictions.csv", predictions, labels)
    folder.close()
    return report


def _run_fold(
    config: Clip3dConfig,
    clips: Sequence[CropClip],
    labels: Sequence[str],
    fold: Fold,
    fabric: Fabric,
    inputs: dict[str, str],
    on_line: Callable[[str], None],
) -> list[ClipPrediction]:
    """Predict the clips held out; a finished fold is not run again, an interrupted one goes on."""
    path = config.run.folder / "folds" / fold.name
    done = path / "predictions.json"
    if done.exists():
        return [ClipPrediction.from_dict(values) for values in json.loads(done.read_text())]
    folder = RunFolder(replace(config.run, folder=path), settings_of(config), inputs)
    network = train_clip3d(
        config,
        [clips[i] for i in fold.train],
        labels,
        fabric,
        folder=folder,
        on_line=lambda line: on_line(f"fold {fold.name}, {line}"),
    )
    found = predict_clips3d(network, [clips[i] for i in fold.test], labels, num_views=config.num_views)
    save_json(done, [prediction.to_dict() for prediction in found])
    folder.close()
    return found


def train_clip3d(
    config: Clip3dConfig,
    clips: Sequence[CropClip],
    labels: Sequence[str],
    fabric: Fabric,
    *,
    folder: RunFolder,
    on_line: Callable[[str], None],
) -> Clip3dNetwork:
    """Train one network on the given clips, of which at least one shows a face.

    Args:
        config: the run.
        clips: all of them are learnt from.
        labels: the C emotions.
        fabric: where it is trained.
        folder: receives state and metrics; what it holds is gone on with.
        on_line: receives a line for each epoch.
    Returns: the averaged network.
    """
    usable = [clip for clip in clips if clip.crops is not None]
    torch.manual_seed(config.run.seed)
    network = Clip3dNetwork(config.network, num_classes=len(labels))
    steps = max(1, len(usable) // config.optim.batch_size)
    trainer = Trainer(network, optim=config.optim, run=config.run, fabric=fabric, steps_per_epoch=steps)
    state = folder.load_state()
    if state is not None:
        trainer.restore(state)
    while trainer.epoch < config.optim.epochs:
        loss = _train_epoch(trainer, usable, labels, config)
        trainer.epoch += 1
        line = folder.log_epoch(trainer.epoch, {"train_loss": loss})
        folder.save_state(trainer.state())
        on_line(line)
    return trainer.average


def _train_epoch(
    trainer: Trainer, clips: Sequence[CropClip], labels: Sequence[str], config: Clip3dConfig
) -> float:
    generator = trainer.epoch_generators()[0]
    rng = np.random.default_rng(generator.initial_seed())
    order = rng.permutation(len(clips))
    device = trainer.fabric.device
    trainer.network.train()
    total = torch.zeros((), device=device)
    size = config.optim.batch_size
    jitter = config.augmentation.time_jitter
    for step in range(trainer.steps_per_epoch):
        chosen = [clips[i] for i in order[step * size : (step + 1) * size]]
        phases = 0.5 + jitter * (rng.random((len(chosen), config.network.num_frames)) - 0.5)
        crops = np.stack([_frames(clip, phase) for clip, phase in zip(chosen, phases, strict=True)])
        truth = torch.tensor([labels.index(clip.emotion) for clip in chosen], device=device)
        pixels = augment_clips(torch.from_numpy(crops).to(device), config.augmentation, generator)
        loss = F.cross_entropy(trainer.network(pixels), truth, label_smoothing=config.label_smoothing)
        trainer.step(loss, step)
        total += loss.detach()
    return float(total) / trainer.steps_per_epoch


def augment_clips(crops: Tensor, config: PixelAugmentation, rng: torch.Generator) -> Tensor:
    """Return changed copies of clips.

    Args:
        crops: uint8 (B, T, S, S, 3).
        config: how strong.
        rng: CPU generator, so that the draw does not depend on the device.
    Returns: float32 (B, T, S, S, 3), values 0-255.
    """
    num, length, side = crops.shape[:3]
    draws = torch.rand((num, 5), generator=rng).to(crops.device)
    zoom = ((2 * draws[:, 0] - 1) * config.scale).exp()
    # grid_sample's coordinates run from -1 to 1: a fraction of the side is twice as much there.
    shift = 2 * config.shift * (2 * draws[:, 1:3] - 1)
    mirrored = (draws[:, 3] < 0.5) & config.mirror
    zero = torch.zeros_like(zoom)
    matrix = torch.stack(
        [
            torch.stack([torch.where(mirrored, -zoom, zoom), zero, shift[:, 0]], 1),
            torch.stack([zero, zoom, shift[:, 1]], 1),
        ],
        1,
    )
    pictures = crops.permute(0, 1, 4, 2, 3).reshape(num, 3 * length, side, side).float()
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    pictures = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    exponent = ((2 * draws[:, 4] - 1) * config.gamma).exp()
    pictures = 255 * (pictures / 255).clamp(0, 1) ** exponent[:, None, None, None]
    return pictures.view(num, length, 3, side, side).permute(0, 1, 3, 4, 2)


@torch.inference_mode()
def predict_clips3d(
    network: Clip3dNetwork, clips: Sequence[CropClip], labels: Sequence[str], *, num_views: int
) -> list[ClipPrediction]:
    """Label clips by the mean probabilities over choices of their frames.

    Args:
        network: trained.
        clips: one without a face is left without a prediction.
        labels: the C emotions.
        num_views: choices of frames, each shifted in time against the others.
    """
    network.eval()
    device = next(network.parameters()).device
    phases = [np.full(network.spec.num_frames, (view + 0.5) / num_views) for view in range(num_views)]
    predictions = []
    for clip in clips:
        winners, probs = {}, {}
        if clip.crops is not None:
            views = np.stack([_frames(clip, phase) for phase in phases])
            mean = network(torch.from_numpy(views).to(device)).softmax(-1).mean(0).cpu().numpy()
            winners, probs = {"head": int(mean.argmax())}, {"head": mean}
        label = labels.index(clip.emotion)
        predictions.append(ClipPrediction(clip.clip_id, clip.subject, label, winners, probs))
    return predictions


def _frames(clip: CropClip, phase: np.ndarray) -> np.ndarray:
    """Return the crops (T, S, S, 3) at the moments that `spread_frames` takes."""
    assert clip.crops is not None
    return clip.crops.crops[spread_frames(clip.crops.pts_seconds, phase)]
