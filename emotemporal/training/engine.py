"""What every training shares: the run folder, the schedule, averaged weights, resuming."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from emotemporal.errors import OutputError, TrainingError, UsageError
from emotemporal.files import replacing
from emotemporal.training.config import OptimConfig, RunConfig


class RunFolder:
    """A training's folder: resumable state, one line of metrics an epoch, TensorBoard events."""

    def __init__(self, config: RunConfig, settings: Mapping[str, Any]) -> None:
        self.path = Path(config.folder)
        self._state = self.path / "last.ckpt"
        if self._state.exists() and not config.resume:
            raise UsageError(f"{self.path}: holds a run already; choose another folder or resume it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            text = json.dumps(settings, indent=2, default=str)
            (self.path / "config.json").write_text(text + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write the run folder ({error})") from error
        self._events = SummaryWriter(self.path)

    def load_state(self) -> dict[str, Any] | None:
        """Return the state of the last finished epoch, or None for a new run."""
        if not self._state.exists():
            return None
        return torch.load(self._state, map_location="cpu", weights_only=True)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep the state of a finished epoch, whole or not at all."""
        with replacing(self._state) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:
                # What torch.save makes of a full disk.
                raise OutputError(f"cannot write {self._state}: {error}; the last state is kept") from error

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> str:
        """Record one epoch and return its line."""
        record = {"epoch": epoch, **{name: round(float(value), 6) for name, value in metrics.items()}}
        with (self.path / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps(record) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name, value, epoch)
        return f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

    def close(self) -> None:
        self._events.close()


def make_fabric(config: RunConfig) -> Fabric:
    """Return a launched Fabric for the run's device, processes and precision."""
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise UsageError("accelerator cuda was asked for, but no CUDA device is present; use cpu or auto")
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,
        strategy="ddp" if config.devices > 1 else "auto",
    )
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    return fabric


def make_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimizer, with weight decay on weight matrices and filters alone."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)


def learning_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """Return the rate of one step: linear warm-up, then a cosine to zero (Loshchilov & Hutter 2017)."""
    warmup = max(1, round(config.warmup_fraction * num_steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer:
    """A network, its averaged copy and its optimizer, moved one step at a time.

    The rate depends on the step alone and all randomness of an epoch on its number, so a resumed run
    repeats what an uninterrupted one would have done.
    """

    def __init__(
        self, network: nn.Module, *, optim: OptimConfig, run: RunConfig, fabric: Fabric, steps_per_epoch: int
    ) -> None:
        self.optim, self.fabric = optim, fabric
        self.steps_per_epoch = steps_per_epoch
        self.raw = network
        optimizer = make_optimizer(network, optim)
        compiled = torch.compile(network) if run.compile else network
        self.network, self.optimizer = fabric.setup(compiled, optimizer)
        average = get_ema_multi_avg_fn(optim.ema_decay)
        self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.seed = run.seed
        self.epoch = 0
        self.best = -math.inf

    def epoch_generator(self) -> torch.Generator:
        """Return the generator all of this epoch's draws come from, and seed dropout alike."""
        seed = self.seed * 1_000_003 + self.epoch
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed)

    def step(self, loss: torch.Tensor, step: int) -> None:
        """Move the weights once.

        Raises:
            TrainingError: the loss is not a number.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} in epoch {self.epoch}, step {step}; "
                "the state of the last epoch is kept: resume it with a lower optim.lr"
            )
        num_steps = self.steps_per_epoch * self.optim.epochs
        rate = learning_rate(self.epoch * self.steps_per_epoch + step, num_steps, self.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.optim.gradient_clip, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.averaged.update_parameters(self.raw)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.raw.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.raw.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = int(state["epoch"])
        self.best = float(state["best"])


def settings_of(config: Any) -> dict[str, Any]:
    """Return a config as plain JSON values."""
    return json.loads(json.dumps(asdict(config), default=str))
