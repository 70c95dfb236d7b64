"""The frame network with convolutions that a processor can run in 8-bit integers, without any data.

Every convolution but the first sees what a batch normalisation and a ReLU gave, and these tell what to
expect without a single face to look at: each channel is spread about its offset b with deviation |g|, so that
little lies above b + 6 |g| (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction"). Weights have a scale for each channel that they give.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotemporal.errors import UsageError
from emotemporal.models.backbone import ResidualBlock, SEResNet
from emotemporal.models.network import FrameNetwork

_DEVIATIONS = 6.0
"""On FER2013's PublicTest 6 gives the label of float32 to 99.4 % of the faces, as 5 does; 4 to 98.7 %, 3 to
96.8 %."""
_ACTIVATION_LEVELS = 256
_WEIGHT_MAX = 63
"""Seven bits: processors without VNNI add two products of 8 bits each in 16, where those of 127 overflow."""
_NOTHING = 1e-6


class _QuantisedConv(nn.Module):
    """A convolution of inputs from 0 to `ceiling`, both rounded to the steps of their integers."""

    def __init__(self, conv: nn.Conv2d, ceiling: float) -> None:
        super().__init__()
        self.weight, self.stride, self.padding = conv.weight, conv.stride, conv.padding
        self.step = ceiling / (_ACTIVATION_LEVELS - 1)
        largest = conv.weight.detach().abs().amax((1, 2, 3))
        self.weight_steps = nn.Buffer(largest.clamp_min(1e-8) / _WEIGHT_MAX)
        self.zeros = nn.Buffer(torch.zeros(len(largest), dtype=torch.int32))
        # Without an offset OpenVINO 2026.4 loses the scales of what goes into squeeze-and-excitation.
        self.offset = nn.Buffer(torch.full((len(largest),), _NOTHING))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.step, 0, 0, _ACTIVATION_LEVELS - 1)
        weight = torch.fake_quantize_per_channel_affine(
            self.weight, self.weight_steps, self.zeros, 0, -_WEIGHT_MAX, _WEIGHT_MAX
        )
        return F.conv2d(x, weight, self.offset, self.stride, self.padding)


def quantise_network(network: FrameNetwork) -> SEResNet:
    """Return a copy whose convolutions round as 8-bit integers do; OpenVINO runs them in such.

    Args:
        network: in evaluation mode; it is not changed.
    Raises:
        UsageError: it is another network than `SEResNet`.
    """
    if not isinstance(network, SEResNet):
        raise UsageError(f"only the network seresnet can be quantised, not {network.spec.name}")
    quantised = copy.deepcopy(network)
    for block in quantised.blocks:
        assert isinstance(block, ResidualBlock)
        if block.shortcut is not None:
            block.shortcut = _quantise(block.shortcut, block.norm1)
        block.conv1, block.conv2 = _quantise(block.conv1, block.norm1), _quantise(block.conv2, block.norm2)
    return quantised


def _quantise(conv: nn.Module, norm: nn.BatchNorm2d) -> _QuantisedConv:
    """Return a convolution of what comes out of a normalisation and a ReLU."""
    assert isinstance(conv, nn.Conv2d)
    ceiling = float((norm.bias + _DEVIATIONS * norm.weight.abs()).detach().max())
    # Nothing comes through a normalisation that is negative throughout; a step must be positive.
    return _QuantisedConv(conv, max(ceiling, 1e-3))
