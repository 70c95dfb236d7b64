"""X3D over a clip's crops: pixels -> clip logits in one network, without a frame network before it.

It is what temporal heads are compared with: Feichtenhofer 2020 (arXiv:2004.04730), from random weights.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotemporal.models.specs import Clip3dSpec

with warnings.catch_warnings():
    # fvcore below it scripts a loss of its own on import, which newer torch warns of.
    warnings.filterwarnings("ignore", message=".*torch.jit.script")
    from pytorchvideo.models.x3d import create_x3d

# Of X3D's published trainings, pixels in [0, 1].
_MEAN, _DEVIATION = 0.45, 0.225


class Clip3dNetwork(nn.Module):
    """X3D with the pixels' preparation.

    Args:
        spec: its dimensions.
        num_classes: C.
    """

    def __init__(self, spec: Clip3dSpec, *, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        network = create_x3d(
            input_clip_length=spec.num_frames,
            input_crop_size=spec.side_px,
            model_num_class=num_classes,
            dropout_rate=spec.dropout,
            width_factor=spec.width_factor,
            depth_factor=spec.depth_factor,
            # The same function as its own Swish, whose gradient newer torch warns of.
            inner_act=nn.SiLU,
            head_dim_out=spec.head_width,
            head_activation=None,
        )
        # Twice as fast on the CPU; bf16 on top of it takes the gain back (depthwise 3D convolutions).
        self.x3d = network.to(memory_format=torch.channels_last_3d)

    def forward(self, crops: Tensor) -> Tensor:
        """Run on clips of equal length.

        Args:
            crops: (B, T, S, S, 3) or gray (B, T, S, S), values 0-255, uint8 or floating; T as in the spec.
        Returns: (B, C), logits.
        Raises:
            ValueError: another number of frames or dimensions.
        """
        if crops.ndim == 4:
            crops = crops.unsqueeze(-1).expand(-1, -1, -1, -1, 3)
        if crops.ndim != 5 or crops.shape[1] != self.spec.num_frames or crops.shape[-1] != 3:
            wanted = f"(B, {self.spec.num_frames}, S, S) or (B, {self.spec.num_frames}, S, S, 3)"
            raise ValueError(f"crops must have shape {wanted}, found {tuple(crops.shape)}")
        x = (crops.float() / 255 - _MEAN) / _DEVIATION
        x = x.permute(0, 4, 1, 2, 3)  # (B, 3, T, S, S)
        side = self.spec.side_px
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, size=(self.spec.num_frames, side, side), mode="trilinear")
        return self.x3d(x.contiguous(memory_format=torch.channels_last_3d)).float()
