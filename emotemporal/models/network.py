"""What every frame network has in common: an embedding of the picture, landmarks if wanted, classifiers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from emotemporal.models.mixed import LandmarkBranch
from emotemporal.models.specs import BackboneSpec


class FrameOutput(NamedTuple):
    """What the frame network says of a batch of crops."""

    embedding: Tensor
    """(B, D)."""
    logits: dict[str, Tensor]
    """Label set -> (B, C)."""


class FrameNetwork(nn.Module):
    """Base of the frame networks: a subclass has the layers that make an embedding of the picture.

    With landmarks their features stand beside the picture's in the embedding, and the classifiers, one for
    each label set, see both.

    Args:
        spec: the network's dimensions.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec

    def embed(self, x: Tensor) -> Tensor:
        """Return the embedding (B, D) of normalised crops (B, 1, S, S)."""
        raise NotImplementedError

    def add_classifiers(self, picture_dim: int) -> None:
        """Make what follows the picture's embedding, of length `picture_dim`; a subclass's last layers."""
        spec = self.spec
        self.landmark_branch = LandmarkBranch(spec.landmarks) if spec.landmarks else None
        self.embedding_dim = picture_dim
        if self.landmark_branch is not None:
            self.embedding_dim += self.landmark_branch.width_out
        self.dropout = nn.Dropout(spec.dropout)
        self.classifiers = nn.ModuleDict(
            {name: nn.Linear(self.embedding_dim, len(labels)) for name, labels in spec.label_sets.items()}
        )

    def forward(self, x: Tensor, landmarks: Tensor | None = None) -> FrameOutput:
        """Run on normalised crops.

        Args:
            x: (B, 1, S, S), S at least 16.
            landmarks: (B, 2P + 1) as `landmark_vector` makes them, for a network with `spec.landmarks`.
        """
        embedding = self.embed(x)
        if self.landmark_branch is not None:
            embedding = torch.cat([embedding, self.landmark_branch(landmarks).to(embedding.dtype)], 1)
        dropped = self.dropout(embedding).float()
        # bf16 logits have so few digits that two emotions can come out exactly equal.
        with torch.autocast(x.device.type, enabled=False):
            logits = {name: head(dropped) for name, head in self.classifiers.items()}
        return FrameOutput(embedding, logits)
