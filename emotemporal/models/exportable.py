"""The networks as single graphs from raw inputs to outputs, which other systems can run.

They say what the networks say of which they are made, in operations that ONNX and OpenVINO have.
"""

import copy

import torch
from torch import Tensor, nn

from emotemporal.errors import UsageError
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.network import FrameNetwork
from emotemporal.models.temporal import RecurrentEncoder, TemporalHead, temper


class NormalisedFrame(nn.Module):
    """A frame network that takes normalised crops (B, 1, S, S) and returns a tuple."""

    def __init__(self, network: FrameNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the embedding (B, D), then the logits (B, C) of each label set."""
        found = self.network(x)
        return (found.embedding, *found.logits.values())


class ExportableFrame(NormalisedFrame):
    """A frame network that normalises crops itself and returns a tuple.

    Raises:
        UsageError: the network sees landmarks.
    """

    def __init__(self, network: FrameNetwork) -> None:
        if network.spec.landmarks:
            raise UsageError(
                f"the frame network sees {network.spec.landmarks} landmarks beside the picture; only those "
                "that see the picture alone can be exported"
            )
        super().__init__(network)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Gray uint8 (B, S, S) -> embedding (B, D), then the logits (B, C) of each label set."""
        return super().forward(normalise_crops(crops))


class ExportableHead(nn.Module):
    """A temporal head with its calibration.

    Args:
        head: it is copied, not changed.
        temperature: flattens what the head made of the evidence, as in `TorchHead`.
    Raises:
        UsageError: the head sees geometry.
    """

    def __init__(self, head: TemporalHead, temperature: float) -> None:
        super().__init__()
        if head.spec.sees_geometry:
            raise UsageError(
                "the temporal head sees 68 landmarks; only those that see the frame network's evidence alone "
                "can be exported"
            )
        self.head = copy.deepcopy(head).eval()
        self.excess = temperature - 1
        # How many a mask selects is known only when it runs; the number of positions is known before.
        self.head.trained = head.trained.nonzero().squeeze(1)
        if isinstance(head.encoder, RecurrentEncoder):
            self.head.encoder = _PaddedEncoder(head.encoder)

    def forward(
        self, embeddings: Tensor, evidence: Tensor, seconds: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return calibrated log-probabilities of frames (B, T, C) and clips (B, C); see `TemporalHead`."""
        out = self.head(embeddings, evidence, seconds, mask)
        trained = self.head.trained
        return (
            temper(out.frame_logits, trained, 1 + self.excess * out.frame_trust),
            temper(out.clip_logits, trained, 1 + self.excess * out.clip_trust),
        )


class _PaddedEncoder(nn.Module):
    """A recurrent encoder that runs over padding instead of packing it away, which no exporter can follow.

    Padding comes last, so the way forward meets it when all that counts is done; the way back goes over
    each sequence turned round by its own length.
    """

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        gru = encoder.gru
        self.pace, self.width_out = encoder.pace, encoder.width_out
        directions = ("", "_reverse") if gru.bidirectional else ("",)
        self.layers = nn.ModuleList(
            nn.ModuleList(_one_way(gru, f"l{layer}{direction}") for direction in directions)
            for layer in range(gru.num_layers)
        )

    def forward(self, features: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), (B, T), (B, T) -> (B, T, width_out)."""
        # torch.diff, which has no counterpart in OpenVINO.
        step = seconds - torch.cat([seconds[:, :1], seconds[:, :-1]], 1)
        states = torch.cat([features, self.pace(step).unsqueeze(-1)], -1)
        # The place of each frame when its sequence is turned round; padding gets any that exists.
        turned = (mask.sum(1, keepdim=True) - mask.cumsum(1)).unsqueeze(-1)
        for layer in self.layers:
            forward, *backwards = layer.children()
            found = [forward(states)[0]]
            for backward in backwards:
                reversed_states = states.gather(1, turned.expand(-1, -1, states.shape[-1]))
                back = backward(reversed_states)[0]
                found.append(back.gather(1, turned.expand(-1, -1, back.shape[-1])))
            states = torch.cat(found, -1) * mask.unsqueeze(-1)
        return states


def _one_way(gru: nn.GRU, suffix: str) -> nn.GRU:
    """Return one layer of a GRU in one direction, as a GRU of its own."""
    tensors = {
        f"{name}_l0": getattr(gru, f"{name}_{suffix}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    one = nn.GRU(tensors["weight_ih_l0"].shape[1], gru.hidden_size, batch_first=True)
    one.load_state_dict(tensors)
    return one
