"""The frame network: one face crop -> emotion logits and an embedding.

A narrow residual network (He et al. 2016, "Identity Mappings in Deep Residual Networks") with
squeeze-and-excitation (Hu et al. 2018) for 48x48 gray faces, or one of torchvision's. It carries one
classifier for each label set it was trained on, side by side on the same embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotemporal.models.network import FrameNetwork
from emotemporal.models.specs import LUMA, MIN_DEVIATION, BackboneSpec


def normalise_crops(crops: Tensor) -> Tensor:
    """Turn crops into the frame network's input: gray, each crop of zero mean and unit deviation.

    Standardising each crop by itself takes out brightness and contrast, which differ more between a
    dark room and a studio than between emotions.

    Args:
        crops: (B, S, S, 3) RGB or (B, S, S) gray, values 0-255, any dtype.
    Returns: float32 (B, 1, S, S).
    """
    crops = crops.to(torch.float32)
    if crops.ndim == 4:
        crops = crops @ torch.tensor(LUMA, device=crops.device)
    return standardise_crops(crops)


def standardise_crops(crops: Tensor) -> Tensor:
    """Bring each gray crop, float32 (B, S, S), to zero mean and unit deviation: (B, 1, S, S)."""
    flat = crops.flatten(1)
    deviation, mean = torch.std_mean(flat, dim=1, keepdim=True)
    return ((flat - mean) / deviation.clamp_min(MIN_DEVIATION)).view_as(crops).unsqueeze(1)


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // reduction)
        self.excite = nn.Linear(width // reduction, width)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.excite(F.relu(self.squeeze(x.mean((2, 3)))))
        return x * torch.sigmoid(scale)[:, :, None, None]


class ResidualBlock(nn.Module):
    """BN-ReLU-conv twice, squeeze-excite, plus the shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, *, squeeze_excitation: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1: nn.Module = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2: nn.Module = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.excite = _SqueezeExcite(width) if squeeze_excitation else nn.Identity()
        reshapes = stride != 1 or width_in != width
        self.shortcut: nn.Module | None = None
        if reshapes:
            self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return self.excite(out) + shortcut


class SEResNet(FrameNetwork):
    """The frame network of this package; see `BackboneSpec` for its dimensions."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__(spec)
        widths, depths = list(spec.widths), list(spec.depths)
        # Halving at once keeps the first stage at 24x24: a quarter of the cost for about one point.
        self.stem = nn.Conv2d(1, widths[0], 5, 2, 2, bias=False)
        blocks = []
        width_in = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(
                    ResidualBlock(width_in, width, stride, squeeze_excitation=spec.squeeze_excitation)
                )
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width_in)
        self.add_classifiers(width_in)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return F.relu(self.norm(x)).mean((2, 3))


def build_backbone(spec: BackboneSpec) -> FrameNetwork:
    """Return an untrained frame network of the given dimensions."""
    if spec.name == "seresnet":
        return SEResNet(spec)
    # Importing torchvision takes two seconds, more than all the rest.
    from emotemporal.models.transfer import TransferNetwork

    return TransferNetwork(spec)
