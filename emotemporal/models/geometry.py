"""A temporal network over landmarks alone: windows of geometry -> clip logits."""

import torch
from torch import Tensor, nn

from emotemporal.models.specs import HeadSpec
from emotemporal.models.temporal import RecurrentEncoder, TransformerEncoder


class GeometryHead(nn.Module):
    """A recurrent or attentive encoder with attention pooling, beside the clip's plain statistics.

    Unlike `TemporalHead` it corrects no evidence of a frame network: there is none.

    Args:
        spec: its dimensions.
        feature_dim: D, of each window.
        num_classes: C.
    """

    def __init__(self, spec: HeadSpec, *, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.embed = nn.Sequential(nn.Dropout(0.3), nn.Linear(feature_dim, spec.width), nn.GELU())
        self.encoder = (TransformerEncoder if spec.kind == "transformer" else RecurrentEncoder)(spec)
        self.attention = nn.Linear(self.encoder.width_out, 1)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify_states = nn.Linear(2 * self.encoder.width_out, num_classes)
        self.classify_statistics = nn.Linear(2 * feature_dim, num_classes)

    def forward(self, features: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """Run on padded clips.

        Args:
            features: (B, T, D), standardised.
            seconds: (B, T), time since the clip's first window.
            mask: bool (B, T), true = real; real windows come first.
        Returns: (B, C), logits.
        """
        real = mask.unsqueeze(-1)
        num_real = real.sum(1)
        features = features * real
        states = self.dropout(self.encoder(self.embed(features), seconds, mask))
        attention = self.attention(states).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(-1)
        attended = (attention.unsqueeze(-1) * states).sum(1)
        mean_state = (states * real).sum(1) / num_real

        mean = features.sum(1) / num_real
        # The small constant keeps the root's slope finite where a clip has one window.
        spread = (((features - mean.unsqueeze(1)).square() * real).sum(1) / num_real + 1e-4).sqrt()
        # Scaled down, so that at first the many statistics do not drown the states.
        statistics = 0.3 * self.dropout(torch.cat([mean, 2 * spread - 1], -1))
        states = torch.cat([attended, mean_state], -1)
        return self.classify_states(states) + self.classify_statistics(statistics)
