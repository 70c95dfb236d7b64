"""Checkpoints: one safetensors file each, tensors plus a JSON header.

Loading executes nothing: the header is JSON, the tensors are raw numbers, and the network is built
again from its dimensions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from emotemporal.errors import CheckpointError, OutputError
from emotemporal.files import replacing
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.structures import CropGeometry

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
_HEADER_KEY = "emotemporal"
_DEFAULT_NAME = "clip_default.safetensors"
_FRAME_NAME = "frame_fer2013.safetensors"
_CAUSAL_HEAD_NAME = "causal_head.safetensors"
_HEAD = "head."
# The largest network here has 24 M parameters; a file of this size is something else.
_MAX_BYTES = 2 * 1024**3
# Those of the shipped ones have some 10,000.
_MAX_HEADER = 16 * 1024**2


@dataclass(frozen=True)
class _Header:
    """How a header becomes JSON and comes back."""

    def _check_common(self, temperatures: Mapping[str, float], **positive: float) -> None:
        for name in ("name", "licence"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a text, found {getattr(self, name)!r}")
        for name in ("training", "metrics"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} must hold names and values, found {getattr(self, name)!r}")
        numbers = {f"temperature of {name}": value for name, value in temperatures.items()} | positive
        for name, value in numbers.items():
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"{name} must be a positive number, found {value!r}")

    def to_json(self) -> str:
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a header.

        Raises:
            ValueError, TypeError, KeyError: it is not one.
        """
        values = json.loads(text)
        version = values.pop("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"format version {version}, this release reads {FORMAT_VERSION}")
        return cls(**cls._typed(values))

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Give the values that JSON knows no type for theirs."""
        return {**values, "labels": tuple(values["labels"])}


@dataclass(frozen=True)
class CheckpointHeader(_Header):
    """What a checkpoint says of itself."""

    kind: Literal["frame", "clip", "head"]
    """A network that looks at faces, the same with a temporal head, or such a head without the network."""
    name: str
    labels: tuple[str, ...]
    """The emotions predicted, in the order of the logits."""
    backbone: BackboneSpec
    temperature: float
    """Divides the frame logits before they become probabilities."""
    temperatures: Mapping[str, float] = field(default_factory=dict)
    """The same for the other classifiers on the embedding, by name; 1 for one without an entry."""
    head: HeadSpec | None = None
    """Of a clip or head checkpoint."""
    trained_labels: tuple[str, ...] = ()
    """Emotions the head was trained on; the others keep the frame network's evidence."""
    head_temperature: float = 1.0
    dwell_seconds: float = 2.0
    """Mean time in one emotion, for smoothing."""
    geometry: CropGeometry = field(default_factory=CropGeometry)
    training: Mapping[str, Any] = field(default_factory=dict)
    """Data, its licence, settings, seed, versions."""
    licence: str = "unknown"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What was measured on validation data when it was saved."""

    def __post_init__(self) -> None:
        self._check_common(
            {**self.temperatures, "main": self.temperature, "head": self.head_temperature},
            dwell_seconds=self.dwell_seconds,
        )
        if (self.head is None) == (self.kind != "frame"):
            raise ValueError(f"a {self.kind} checkpoint with{'out' if self.head is None else ''} a head")
        predicted = tuple(next(iter(self.backbone.label_sets.values())))
        if self.labels != predicted:
            raise ValueError(f"labels {self.labels} are not those of the network, {predicted}")
        unknown = set(self.trained_labels) - set(self.labels)
        if unknown:
            raise ValueError(f"trained_labels {sorted(unknown)} are not among the labels")
        unknown = set(self.temperatures) - set(list(self.backbone.label_sets)[1:])
        if unknown:
            raise ValueError(f"temperatures {sorted(unknown)} are not of other classifiers of the network")

    @property
    def main_classifier(self) -> str:
        """Name of the classifier that `labels` and a head's evidence come from."""
        return next(iter(self.backbone.label_sets))

    def temperature_of(self, classifier: str) -> float:
        """Return what divides the logits of one of the network's classifiers."""
        if classifier == self.main_classifier:
            return self.temperature
        return self.temperatures.get(classifier, 1.0)

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = super()._typed(values)
        values["trained_labels"] = tuple(values["trained_labels"])
        values["backbone"] = BackboneSpec(**values["backbone"])
        values["head"] = None if values["head"] is None else HeadSpec(**values["head"])
        values["geometry"] = CropGeometry.from_dict(values["geometry"])
        return values


@dataclass(frozen=True)
class GeometryHeader(_Header):
    """What a checkpoint of linear models of 68 landmarks says of itself."""

    name: str
    labels: tuple[str, ...]
    """The emotions predicted, in the order of the logits."""
    temperatures: Mapping[str, float]
    """Set of weights -> what divides the logarithms of its mean probabilities."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Data, settings, versions."""
    licence: str = "unknown"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What was measured on people held out."""
    kind: Literal["geometry"] = "geometry"

    def __post_init__(self) -> None:
        self._check_common(self.temperatures)


Header = TypeVar("Header", CheckpointHeader, GeometryHeader)


@dataclass(frozen=True, eq=False)
class Checkpoint(Generic[Header]):
    """A loaded checkpoint file."""

    path: Path
    sha256: str
    header: Header
    arrays: Mapping[str, np.ndarray]
    """The weights, by name."""

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The weights as tensors that share their memory."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.arrays.items()}

    def identity(self) -> dict[str, str]:
        """Return what an output records of the weights it came from."""
        return {"name": self.header.name, "sha256": self.sha256, "licence": self.header.licence}


def save_checkpoint(
    path: str | Path, header: CheckpointHeader | GeometryHeader, tensors: Mapping[str, Tensor]
) -> None:
    """Write a checkpoint, whole or not at all.

    Matrices and filters are stored in half precision, which halves the file; norms and biases stay as they
    are. Probabilities of the shipped frame network moved by 0.0005 in the middle and 0.007 at most, on 800
    faces of PublicTest, and no label changed.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save_file

    plain = {
        name: (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor).cpu().contiguous()
        for name, tensor in tensors.items()
    }
    with replacing(path) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(plain, temporary, metadata={_HEADER_KEY: header.to_json()})
        except SafetensorError as error:
            raise OutputError(f"cannot write {path}: {error}") from error
        temporary.chmod(0o644)


def load_checkpoint(
    path: str | Path, *, kind: Literal["frame", "clip", "head"] | None = None
) -> Checkpoint[CheckpointHeader]:
    """Read a checkpoint of networks that look at faces.

    Args:
        path: the file.
        kind: the only one that will do; None takes frame and clip checkpoints.
    Raises:
        CheckpointError: missing, damaged, of another kind, or not a checkpoint of this package.
    """
    return _read(Path(path), CheckpointHeader, ("frame", "clip") if kind is None else (kind,))


def load_geometry_checkpoint(path: str | Path) -> Checkpoint[GeometryHeader]:
    """Read a checkpoint of linear models of landmarks.

    Raises:
        CheckpointError: missing, damaged, or not a geometry checkpoint of this package.
    """
    return _read(Path(path), GeometryHeader, ("geometry",))


def _read(path: Path, header_class: type[Header], kinds: Sequence[str]) -> Checkpoint[Header]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes are too many for a checkpoint")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_HEADER_KEY)
            if text is None:
                raise CheckpointError(f"{path}: a safetensors file, but without an emotemporal header")
            if len(text) > _MAX_HEADER:
                raise CheckpointError(f"{path}: a header of {len(text)} characters is too long for one")
            kind = json.loads(text)["kind"]
            if kind not in kinds:
                raise CheckpointError(f"{path}: a {kind} checkpoint, expected a {' or '.join(kinds)} one")
            header = header_class.from_json(text)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            broken = [name for name, value in arrays.items() if not np.isfinite(value).all()]
            if broken:
                raise CheckpointError(f"{path}: {broken[0]} holds numbers that are not finite")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a checkpoint, or damaged ({error})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the header is not readable ({error})") from error
    return Checkpoint(path, file_sha256(path), header, arrays)


def save_head(path: str | Path, header: CheckpointHeader, tensors: Mapping[str, Tensor]) -> None:
    """Write the temporal head of a clip checkpoint without its frame network; see `with_head`.

    Args:
        path: of the head checkpoint.
        header, tensors: of the clip checkpoint.
    Raises:
        OutputError: the file cannot be written.
    """
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(_HEAD)}
    save_checkpoint(path, replace(header, kind="head"), own)


def with_head(checkpoint: Checkpoint[CheckpointHeader], path: str | Path) -> Checkpoint[CheckpointHeader]:
    """Return a checkpoint with the temporal head of a head checkpoint in place of its own, if any.

    Raises:
        CheckpointError: it is none, or was trained on another frame network.
    """
    head = load_checkpoint(path, kind="head")
    needed, found = _frame_sha256(head), _frame_sha256(checkpoint)
    if not needed or needed != found:
        raise CheckpointError(
            f"{path}: this head belongs to the frame network {needed[:12] or 'unknown'}, {checkpoint.path} "
            f"has {found[:12] or 'an unknown one'}; train a head on that one, or give the one it belongs to"
        )
    arrays = {name: array for name, array in checkpoint.arrays.items() if not name.startswith(_HEAD)}
    header = replace(head.header, kind="clip", temperatures=checkpoint.header.temperatures)
    return replace(checkpoint, sha256=head.sha256, header=header, arrays={**arrays, **head.arrays})


def _frame_sha256(checkpoint: Checkpoint[CheckpointHeader]) -> str:
    """Return the SHA-256 of the frame checkpoint that a checkpoint contains or belongs to, '' if unknown."""
    if checkpoint.header.kind == "frame":
        return checkpoint.sha256
    return str(checkpoint.header.training.get("frame_network", {}).get("sha256", ""))


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def default_checkpoint() -> Path:
    """Return the path of the shipped clip checkpoint.

    Raises:
        CheckpointError: it is not there.
    """
    return _shipped(_DEFAULT_NAME, "--checkpoint")


def default_frame_checkpoint() -> Path:
    """Return the path of the shipped frame network.

    Raises:
        CheckpointError: it is not there.
    """
    return _shipped(_FRAME_NAME, "checkpoint")


def default_causal_head() -> Path:
    """Return the path of the shipped head that works frame by frame, on the network of the one above.

    Raises:
        CheckpointError: it is not there.
    """
    return _shipped(_CAUSAL_HEAD_NAME, "--head")


def _shipped(name: str, flag: str) -> Path:
    package = Path(__file__).parent
    # Inside the package once installed as a wheel, beside it in a checkout.
    for folder in (package / "checkpoints", package.parent / "checkpoints"):
        path = folder / name
        if path.is_file():
            return path
    raise CheckpointError(f"{name} is not in {package.parent / 'checkpoints'}; give {flag} FILE")
