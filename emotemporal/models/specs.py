"""The dimensions of every network, apart from the networks so that settings load without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from emotemporal.labels import FER7

BackboneName = Literal["seresnet"]
BACKBONE_NAMES: tuple[str, ...] = get_args(BackboneName)


@dataclass(frozen=True)
class BackboneSpec:
    """Everything needed to build a frame network again."""

    name: BackboneName = "seresnet"
    widths: Sequence[int] = (64, 128, 256, 288)
    """Channels of each stage; the last is the length of the embedding."""
    depths: Sequence[int] = (2, 2, 2, 2)
    """Residual blocks of each stage."""
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
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} differ in length")
        if not self.label_sets:
            raise ValueError("label_sets must name at least one label set")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class HeadSpec:
    """Everything needed to build a temporal head again."""

    kind: Literal["gru", "bigru", "transformer"] = "bigru"
    width: int = 64
    """Features inside the head, in each direction of a GRU."""
    num_layers: int = 1
    num_attention_heads: int = 4
    """Of the transformer."""
    dropout: float = 0.4

    def __post_init__(self) -> None:
        if self.kind == "transformer" and self.width % self.num_attention_heads:
            raise ValueError(
                f"width {self.width} is no multiple of {self.num_attention_heads} attention heads"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
