"""Settings of the trainings: every default stands here, a YAML file states departures from them.

Nothing heavy is imported, so that `--help` and a faulty config answer at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from emotemporal.datasets.splits import Protocol
from emotemporal.models.specs import BackboneSpec, HeadSpec


@dataclass(frozen=True)
class AugmentationConfig:
    """Strengths; zero switches a change off."""

    rotation_degrees: float = 15.0
    """Uniform in plus or minus this."""
    scale: float = 0.15
    """Log-uniform zoom in plus or minus this."""
    shift: float = 0.10
    """Uniform, as a fraction of the side, in each direction."""
    shear: float = 0.08
    gamma: float = 0.4
    """Log-uniform exponent on brightness in plus or minus this."""
    degrade_probability: float = 0.15
    """Share of faces reduced to 20-40 px and back, which blurs them, with some noise."""
    erase_probability: float = 0.4
    """Share of faces with one rectangle of 4-20 % of the area replaced by noise."""
    mixup_alpha: float = 0.2
    """Beta parameter of mixup (Zhang et al. 2018) over the batch."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, found {value}")


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move."""

    epochs: int = 44
    batch_size: int = 128
    """Over all processes together."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    """Peak; rises linearly over `warmup_fraction` of the steps, then goes by `schedule`."""
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    """After the warm-up: falls to zero as a cosine or in a line, to a tenth at half and again at three
    quarters of the remaining steps, or stays."""
    warmup_fraction: float = 0.1
    weight_decay: float = 5e-4
    """On weight matrices and filters, not on biases and norms."""
    momentum: float = 0.9
    """Of SGD (Nesterov)."""
    ema_decay: float = 0.999
    """Of the averaged weights, which are what is evaluated and saved."""
    gradient_clip: float = 5.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs and batch_size must be positive, found {self.epochs}, {self.batch_size}"
            )
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, found {self.lr}")


@dataclass(frozen=True)
class RunConfig:
    """Where and on what a training runs."""

    folder: Path = Path("runs/default")
    """Receives `last.ckpt`, `best.safetensors`, `metrics.jsonl`, TensorBoard events, `config.json`."""
    resume: bool = True
    """Go on from `last.ckpt` where there is one; else the folder must be new."""
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    """Processes or GPUs, for a frame network; a head trains in one."""
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    compile: bool = False
    """`torch.compile` the network: a fifth faster on the CPU after a minute; needs a C++ compiler."""


@dataclass(frozen=True)
class FrameConfig:
    """One training of a frame network."""

    data: Path = Path("fer2013.csv")
    """FER2013 as a csv (plain, .gz, .xz) or class folders."""
    ferplus: Path | None = None
    """FER+'s `fer2013new.csv`: adds its votes as a second, soft target."""
    skip_bad: bool = False
    """Leave malformed rows and unreadable pictures out, and count them, rather than stop."""
    label_set: Literal["fer7", "fer6", "binary"] = "fer7"
    """The emotions learnt: with `fer6` disgust counts as angry, with `binary` only happy and sad faces are
    used."""
    data_name: str = "own faces"
    """Name and source of the faces, for the checkpoint's header."""
    licence: str = "unknown"
    """Of the trained weights, for the checkpoint's header."""
    initial: Path | None = None
    """Frame checkpoint whose weights are the start, of the same dimensions; None starts at random."""
    teachers: Sequence[Path] = ()
    """Frame checkpoints whose mean belief becomes part of every target; empty for labels alone."""
    teacher_weight: float = 0.5
    """Share of the teachers in a target, from 0 to 1."""
    pretrained: bool = False
    """Start torchvision's networks from their ImageNet weights, fetched once into torch's cache."""
    landmark_cache: Path | None = None
    """Folder that keeps the faces' landmarks between runs, for `backbone.landmarks`; None is `run.folder`."""
    label_smoothing: float = 0.1
    ferplus_weight: float = 1.0
    """Weight of the loss on the FER+ votes beside that on the original labels."""
    backbone: BackboneSpec = field(default_factory=BackboneSpec)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(folder=Path("runs/frame")))

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_weight <= 1:
            raise ValueError(f"teacher_weight must be from 0 to 1, found {self.teacher_weight}")
        if self.pretrained and self.backbone.name == "seresnet":
            raise ValueError(
                "pretrained: there are no ImageNet weights of seresnet; choose another backbone.name"
            )
        if self.pretrained and self.initial is not None:
            raise ValueError(f"pretrained and initial {self.initial} are two starts; give one of them")


@dataclass(frozen=True)
class SequenceAugmentation:
    """Random changes to clips of embeddings; zero or one switches a change off."""

    mirror: bool = True
    """Use the mirrored crops' embeddings half of the time."""
    min_share: float = 0.6
    """Shortest part of a clip that is cut out, as a share of its length."""
    max_stride: int = 4
    """Frames are thinned to every 1st to `max_stride`-th, so that the head learns from time, not count."""
    frame_dropout: float = 0.1
    """Share of frames left out, as a tracker loses faces."""
    embedding_noise: float = 0.05
    """Deviation of Gaussian noise, relative to the embedding's own."""
    max_stretch: float = 0.0
    """Time runs faster or slower by up to this share."""
    face_noise: float = 0.15
    """Deviation of what is added to the geometry of all frames of a clip alike, relative to its own: as if
    somebody else's face showed the same."""


@dataclass(frozen=True)
class ClipConfig:
    """One training of a temporal head."""

    store: Path = Path("crops")
    """Crop store made by extract_faces."""
    frame_checkpoint: Path = Path("checkpoints/frame_fer2013.safetensors")
    """Whose evidence and embeddings the head works on; becomes part of the clip checkpoint."""
    protocol: Protocol | Literal["none"] = "leave-one-subject-out"
    """Measurement before the final training, which is on all clips; after `train-validation` it is on those
    of split `train` alone, so that the others stay unseen."""
    num_folds: int = 5
    """Of `subject-folds`."""
    subjects: Sequence[str] = ()
    """Use only these people; empty means all."""
    data_name: str = "own clips"
    """Name and source of the clips, for the checkpoint's header."""
    licence: str = "unknown"
    """Of the trained weights, for the checkpoint's header."""
    frame_weight: float = 0.5
    """Weight of the loss on every frame beside that on the clip."""
    correction_weight: float = 0.01
    """Weight of the mean squared correction: what keeps the head close to the frames' evidence."""
    label_smoothing: float = 0.1
    head: HeadSpec = field(default_factory=HeadSpec)
    augmentation: SequenceAugmentation = field(default_factory=SequenceAugmentation)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            epochs=60, batch_size=32, optimizer="adamw", lr=2e-3, weight_decay=0.05, ema_decay=0.98
        )
    )
    run: RunConfig = field(default_factory=lambda: RunConfig(folder=Path("runs/clip"), precision="32-true"))


@dataclass(frozen=True)
class SearchConfig(ClipConfig):
    """A search over settings of a temporal head; what is not searched is as in a training.

    `run.folder` receives the trials; a search whose folder holds some goes on with the others.
    """

    search: Mapping[str, Any] = field(default_factory=dict)
    """Name of a setting -> its values to try: a list, or for numbers `{uniform: [low, high]}` or
    `{log_uniform: [low, high]}`."""
    method: Literal["random", "grid"] = "random"
    """Draw settings at random, or try every combination of the lists in their order."""
    trials: int = 20
    """How many settings are tried, of a grid the first; can be raised to go on with a search."""
    search_seed: int = 0
    """Of the draws; every trial trains with `run.seed`."""
    run: RunConfig = field(default_factory=lambda: RunConfig(folder=Path("runs/search"), precision="32-true"))

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials must be positive, found {self.trials}")
        if self.protocol in ("none", "train-validation"):
            raise ValueError(
                f"protocol {self.protocol}: a search holds people out in turn, "
                "choose leave-one-subject-out or another split by person"
            )


@dataclass(frozen=True)
class GeometryTrainingConfig:
    """One training of linear models on RAVDESS's landmarks."""

    data: Path = Path("ravdess_landmarks68")
    """Folder of `Actor_XX_landmarks.csv`, plain, .gz or .xz."""
    output: Path = Path("runs/geometry/geometry_ravdess.safetensors")
    """The checkpoint; `<its stem>.json` beside it receives the cross-validation's report."""
    cache: Path | None = None
    """Folder that keeps the parsed tables between runs."""
    num_baseline_clips: int = 8
    """Clips of a person held out that stand for the baseline a user would give, of as many emotions."""
    seed: int = 0
    """Of the choice of those clips."""
    licence: str = "CC BY-NC-SA 4.0 (trained on RAVDESS); dlib's landmark model excludes commercial use"
    """Of the trained weights, for the checkpoint's header."""

    def __post_init__(self) -> None:
        if self.num_baseline_clips < 2:
            raise ValueError(f"num_baseline_clips must be at least 2, found {self.num_baseline_clips}")
