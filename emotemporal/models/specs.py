"""The dimensions of every network, apart from the networks so that settings load without torch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from emotemporal.errors import UsageError
from emotemporal.labels import FER7

BackboneName = Literal[
    "seresnet",
    "resnet18",
    "resnet50",
    "vgg16",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "efficientnet_b0",
]
BACKBONE_NAMES: tuple[str, ...] = get_args(BackboneName)
Streams = Literal["appearance", "geometry", "both"]

LUMA = (0.299, 0.587, 0.114)
"""Of ITU-R BT.601, by which cv2 and Pillow turn RGB into gray, and so do the networks."""
MIN_DEVIATION = 8.0
"""In gray levels: a crop that deviates less holds only noise to amplify."""

_WIDTHS, _DEPTHS = (64, 128, 256, 288), (2, 2, 2, 2)
# Twice FER2013's side: torchvision's networks halve their input five times, which leaves 3x3.
_TRANSFER_SIDE_PX = 96

# Beyond what anybody trains. A file may claim anything, and its network is built before its weights show
# what it has.
_MAX_SIZE, _MAX_BLOCKS, _MAX_WEIGHTS = 4096, 256, 2**27
_MAX_HEAD_WIDTH, _MAX_HEAD_LAYERS = 1024, 8
# They become names of files and columns, and are shown in captions, tables and terminals.
_SET_NAME, _LABEL = re.compile(r"\w[\w-]{0,63}"), re.compile(r"\w[\w '-]{0,63}")


def _check_sizes(largest: int = _MAX_SIZE, **sizes: Sequence[int]) -> None:
    for name, numbers in sizes.items():
        if not all(type(number) is int and 1 <= number <= largest for number in numbers):
            found = ", ".join(map(str, numbers))
            raise ValueError(f"{name} must be whole and from 1 to {largest}, found {found}")


def _check_names(names: Sequence[str], pattern: re.Pattern[str], kind: str) -> None:
    for name in names:
        if not (isinstance(name, str) and pattern.fullmatch(name)):
            raise ValueError(f"{name!r} is no name of {kind}: letters, digits and a few signs, 64 at most")


@dataclass(frozen=True)
class BackboneSpec:
    """Everything needed to build a frame network again."""

    name: BackboneName = "seresnet"
    """Our own `seresnet`, or the name of a network of torchvision."""
    widths: Sequence[int] = _WIDTHS
    """Channels of each stage; the last is the length of the embedding. Of `seresnet`; empty for others."""
    depths: Sequence[int] = _DEPTHS
    """Residual blocks of each stage. Of `seresnet`; empty for others."""
    squeeze_excitation: bool = True
    """Whether the blocks of `seresnet` weigh their channels by what the whole picture shows."""
    input_side_px: int | None = None
    """torchvision's networks see the crop enlarged to this side, 96 by default; `seresnet` as it is."""
    landmarks: Literal[0, 5, 68] = 0
    """Facial landmarks that a second branch sees beside the picture: none, MTCNN's five, dlib's 68."""
    dropout: float = 0.2
    """Before the classifiers, in training only."""
    label_sets: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"fer7": FER7})
    """Name -> emotions of each classifier; the first is the one predictions come from. A training fills
    them in from its data."""

    def __post_init__(self) -> None:
        # From a YAML file or a checkpoint's header they come as lists; two equal specs must compare so.
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "depths", tuple(self.depths))
        sets = {name: tuple(labels) for name, labels in self.label_sets.items()}
        object.__setattr__(self, "label_sets", sets)
        if self.name not in BACKBONE_NAMES:
            raise ValueError(
                f"backbone '{self.name}' is unknown, expected one of {', '.join(BACKBONE_NAMES)}"
            )
        if self.name == "seresnet":
            self._check_own()
        else:
            self._settle_transfer()
        if self.landmarks not in (0, 5, 68):
            raise ValueError(f"landmarks must be 0, 5 or 68, found {self.landmarks}")
        if not self.label_sets:
            raise ValueError("label_sets must name at least one label set")
        for name, labels in sets.items():
            _check_names([name], _SET_NAME, "a label set")
            _check_names(labels, _LABEL, "a label")

    def _check_own(self) -> None:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} differ in length")
        if not self.widths:
            raise ValueError("seresnet needs widths and depths of at least one stage")
        _check_sizes(widths=self.widths, depths=self.depths)
        num_weights = sum(
            18 * width**2 * depth for width, depth in zip(self.widths, self.depths, strict=True)
        )
        if sum(self.depths) > _MAX_BLOCKS or num_weights > _MAX_WEIGHTS:
            raise ValueError(f"widths {self.widths} and depths {self.depths} make too large a network")
        if self.input_side_px is not None:
            raise ValueError(
                f"input_side_px {self.input_side_px} is for torchvision's networks, seresnet has none"
            )

    def _settle_transfer(self) -> None:
        # The defaults are seresnet's; they come along when only the name is changed.
        if self.widths not in ((), _WIDTHS) or self.depths not in ((), _DEPTHS):
            raise ValueError(f"widths and depths are seresnet's, {self.name} has its own; leave them out")
        object.__setattr__(self, "widths", ())
        object.__setattr__(self, "depths", ())
        side = _TRANSFER_SIDE_PX if self.input_side_px is None else self.input_side_px
        object.__setattr__(self, "input_side_px", side)
        if side < 32:
            raise ValueError(f"input_side_px must be at least 32 for {self.name}, found {side}")
        _check_sizes(input_side_px=(side,))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class HeadSpec:
    """Everything needed to build a temporal head again."""

    kind: Literal["gru", "bigru", "transformer"] = "bigru"
    streams: Streams = "appearance"
    """What it sees of each frame: embedding and evidence of the frame network; where the 68 landmarks of the
    face lie and how they move; or both."""
    width: int = 64
    """Features inside the head, in each direction of a GRU."""
    num_layers: int = 1
    num_attention_heads: int = 4
    """Of the transformer."""
    dropout: float = 0.4

    def __post_init__(self) -> None:
        if self.streams not in get_args(Streams):
            raise ValueError(
                f"streams '{self.streams}' are unknown, expected one of {', '.join(get_args(Streams))}"
            )
        if self.kind not in ("gru", "bigru", "transformer"):
            raise ValueError(f"kind '{self.kind}' is unknown, expected gru, bigru or transformer")
        _check_sizes(_MAX_HEAD_WIDTH, width=(self.width,), num_attention_heads=(self.num_attention_heads,))
        _check_sizes(_MAX_HEAD_LAYERS, num_layers=(self.num_layers,))
        if self.kind == "transformer" and self.width % self.num_attention_heads:
            raise ValueError(
                f"width {self.width} is no multiple of {self.num_attention_heads} attention heads"
            )

    @property
    def sees_appearance(self) -> bool:
        return self.streams != "geometry"

    @property
    def sees_geometry(self) -> bool:
        return self.streams != "appearance"

    def require_streams(self, *, appearance: bool, geometry: bool) -> None:
        """Make sure that what the head sees is there.

        Raises:
            UsageError: a stream is missing.
        """
        there = {"appearance": appearance, "geometry": geometry}
        needed = {"appearance": self.sees_appearance, "geometry": self.sees_geometry}
        if any(needed[name] and not there[name] for name in needed):
            trained, found = (" and ".join(name for name in of if of[name]) for of in (needed, there))
            raise UsageError(
                f"this head was trained on {trained}, found {found or 'nothing'} alone; "
                + ("give the frame network's evidence" if geometry else "give the faces' 68 landmarks")
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Clip3dSpec:
    """Everything needed to build a 3D network over crops again."""

    num_frames: int = 8
    """T, frames that it sees of a clip."""
    side_px: int = 64
    """Crops are brought to this side first; X3D halves its input five times."""
    width_factor: float = 1.0
    """Multiplies X3D's 12 to 96 channels; X3D-XS has 2."""
    depth_factor: float = 1.0
    """Multiplies X3D's 1, 2, 5 and 3 blocks; X3D-XS has 2.2."""
    head_width: int = 512
    """Features before the classifier; X3D-XS has 2048."""
    dropout: float = 0.5
    """Before the classifier, in training only."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be positive, found {self.num_frames}")
        if self.side_px < 32:
            raise ValueError(f"side_px must be at least 32, found {self.side_px}")
        if self.width_factor <= 0 or self.depth_factor <= 0:
            raise ValueError(
                "width_factor and depth_factor must be positive, "
                f"found {self.width_factor} and {self.depth_factor}"
            )
