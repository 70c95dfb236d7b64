"""What every training shares: the run folder, the schedule, averaged weights, resuming."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from emotemporal.errors import OutputError, TrainingError, UsageError
from emotemporal.files import FolderHold, remove_abandoned, replacing, save_json
from emotemporal.training.config import OptimConfig, RunConfig

# What may change between a run and its resumption: it does not change the result.
_FREE_SETTINGS = (
    *("run.folder", "run.resume", "run.accelerator", "run.devices", "run.compile"),
    "landmark_cache",
    # More trials of the same search go on with it.
    "trials",
)
# What newer settings were in runs that do not name them; any other was off: null, false or 0.
_FORMERLY = {
    "optim.schedule": "cosine",
    "label_set": "fer7",
    "teacher_weight": 0.5,
    "simulated.num_clips": 240,
    "backbone.squeeze_excitation": True,
    "head.streams": "appearance",
    # Without geometry, as it was, it changes nothing.
    "augmentation.face_noise": 0.15,
}


class RunFolder:
    """A training's folder: resumable state, one line of metrics an epoch, TensorBoard events.

    Args:
        config: where.
        settings: of the whole training.
        inputs: name -> hash of the data and weights it works on.
    Raises:
        UsageError: the folder holds a run that is not to be resumed, or of other settings or inputs, or
            another process trains in it.
        OutputError: it cannot be written.
    """

    def __init__(self, config: RunConfig, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        self.path = Path(config.folder)
        self._state = self.path / "last.ckpt"
        self._config = self.path / "config.json"
        self._metrics = self.path / "metrics.jsonl"
        document = {**settings, "inputs": dict(inputs)}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot make the run folder ({error.strerror})") from error
        self._hold = FolderHold(self.path)
        if any((self.path / name).exists() for name in ("last.ckpt", "folds", "trials")):
            if not config.resume:
                raise UsageError(f"{self.path}: holds a run already; choose another folder or resume it")
            self._refuse_other(document)
        with self._writing():
            # Of processes that were killed while they wrote.
            for folder in (self.path, self.path / "folds", self.path / "trials"):
                remove_abandoned(folder)
            save_json(self._config, document)
            self._events = SummaryWriter(self.path)

    def _refuse_other(self, document: Mapping[str, Any]) -> None:
        try:
            found = json.loads(self._config.read_text())
        except (OSError, ValueError):
            found = {}
        differing = differing_settings(found, document)
        if differing:
            raise UsageError(
                f"{self.path}: holds a run with other {', '.join(differing)}; choose another run.folder"
            )

    def load_state(self) -> dict[str, Any] | None:
        """Return the state of the last finished epoch, or None for a new run.

        Raises:
            TrainingError: it is damaged.
        """
        if not self._state.exists():
            self._forget_metrics_after(0)
            return None
        try:
            state = torch.load(self._state, map_location="cpu", weights_only=True)
            epoch = int(state["epoch"])
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{self._state}: damaged ({reason}); delete it to start anew") from error
        self._forget_metrics_after(epoch)
        return state

    def _forget_metrics_after(self, epoch: int) -> None:
        """Drop the lines of epochs whose state was not kept: they are gone through again."""
        if not self._metrics.exists():
            return
        lines = self._metrics.read_bytes().split(b"\n")
        # What follows the last end of a line is half a one.
        kept = [line for line in lines[:-1] if json.loads(line)["epoch"] <= epoch]
        with replacing(self._metrics) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in kept))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep the state of a finished epoch, whole or not at all."""
        with replacing(self._state) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:
                # What torch.save makes of a full disk.
                raise OutputError(f"cannot write {self._state}: {error}; the last state is kept") from error

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> str:
        """Record one epoch, before its state is saved, and return its line.

        Should the process end in between, the epoch is gone through, and recorded, again.

        Raises:
            OutputError: the disk does not take it.
        """
        record = {"epoch": epoch, **{name: round(float(value), 6) for name, value in metrics.items()}}
        with self._writing():
            with self._metrics.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            for name, value in metrics.items():
                self._events.add_scalar(name, value, epoch)
        return f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

    def log_picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """Show a picture, uint8 (H, W, 3) RGB, in TensorBoard beside the epoch's metrics."""
        with self._writing():
            self._events.add_image(name, picture, epoch, dataformats="HWC")

    def close(self) -> None:
        with self._writing():
            self._events.close()
        self._hold.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write into {self.path}: {error.strerror or error}; the last state is kept"
            ) from error


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
    """Return the rate of one step: linear warm-up, then the schedule of that name.

    The cosine is that of Loshchilov & Hutter (2017), the steps are those of He et al. (2016) on CIFAR-10.

    Args:
        step: from 0 to `num_steps` - 1.
        num_steps: of the whole training.
        config: peak, warm-up and schedule.
    """
    warmup = max(1, round(config.warmup_fraction * num_steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return _SCHEDULES[config.schedule](config.lr, progress)


# Name -> rate from its peak and how much of the way after the warm-up is gone, from 0 to 1.
_SCHEDULES: Mapping[str, Callable[[float, float], float]] = {
    "cosine": lambda peak, progress: peak * 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda peak, progress: peak * (1 - progress),
    "step": lambda peak, progress: peak * 0.1 ** ((progress >= 0.5) + (progress >= 0.75)),
    "constant": lambda peak, progress: peak,
}


Network = TypeVar("Network", bound=nn.Module)


class Trainer(Generic[Network]):
    """A network, its averaged copy and its optimizer, moved one step at a time.

    The rate depends on the step alone and all randomness of an epoch on its number, so a resumed run
    repeats what an uninterrupted one would have done.
    """

    def __init__(
        self, network: Network, *, optim: OptimConfig, run: RunConfig, fabric: Fabric, steps_per_epoch: int
    ) -> None:
        self.optim, self.fabric = optim, fabric
        self.steps_per_epoch = steps_per_epoch
        self.raw = network
        optimizer = make_optimizer(network, optim)
        compiled = torch.compile(network) if run.compile else network
        assert isinstance(compiled, nn.Module)  # torch's signature says no more than that it can be called
        self.network, self.optimizer = fabric.setup(compiled, optimizer)
        average = get_ema_multi_avg_fn(optim.ema_decay)
        self.averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.seed = run.seed
        self.epoch = 0
        self.best = -math.inf

    @property
    def average(self) -> Network:
        """The averaged copy of the network."""
        return cast(Network, self.averaged.module)

    def epoch_generators(self) -> tuple[torch.Generator, torch.Generator]:
        """Return where this epoch's draws come from, and seed dropout.

        Returns: a generator that is the same in every process, for the order of the data, and one of each
            process's own, for what is done to them.
        """
        seed = self.seed * 1_000_003 + self.epoch
        own = seed + 7_919 * (1 + self.fabric.global_rank)
        torch.manual_seed(own)
        return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(own)

    def step(self, loss: torch.Tensor, step: int) -> None:
        """Move the weights once.

        Raises:
            TrainingError: loss or gradient is not a number; the weights are as they were.
        """
        num_steps = self.steps_per_epoch * self.optim.epochs
        rate = learning_rate(self.epoch * self.steps_per_epoch + step, num_steps, self.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.optim.gradient_clip, error_if_nonfinite=False
        )
        assert norm is not None  # there is one wherever `max_norm` is given
        if not torch.isfinite(loss.detach() + norm):
            raise TrainingError(
                f"loss {loss.item():g}, gradient norm {norm.item():g} in epoch {self.epoch}, step {step}; "
                "the state of the last epoch is kept: start anew with a lower optim.lr"
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


def differing_settings(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of what makes two runs' results differ, as their `config.json` has it.

    Args:
        found: of a run that may be older than some settings.
        wanted: of a run to which it is compared.
    """
    found, wanted = _flat(found), _flat(wanted)
    return sorted(
        name
        for name in found.keys() | wanted.keys()
        if name not in _FREE_SETTINGS
        and (found.get(name, _FORMERLY.get(name)) or None) != (wanted.get(name, _FORMERLY.get(name)) or None)
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def settings_of(config: Any) -> dict[str, Any]:
    """Return a config as plain JSON values."""
    return json.loads(json.dumps(asdict(config), default=str))
