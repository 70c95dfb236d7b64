"""Frame networks from torchvision, from scratch or from ImageNet weights.

ResNet (He et al. 2016), VGG (Simonyan & Zisserman 2015), MobileNetV3 (Howard et al. 2019), EfficientNet
(Tan & Le 2019). The gray crop is enlarged, since these networks halve their input five times, and stands in
all three colour channels.
"""

import io
import pickle
import socket
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from emotemporal.errors import TrainingError
from emotemporal.models.network import FrameNetwork
from emotemporal.models.specs import BackboneSpec

# Name -> attribute that holds torchvision's own classifier, and the number of features it is given.
_HEADS = {
    "resnet18": ("fc", 512),
    "resnet50": ("fc", 2048),
    "vgg16": ("classifier", 512),
    "mobilenet_v3_large": ("classifier", 960),
    "mobilenet_v3_small": ("classifier", 576),
    "efficientnet_b0": ("classifier", 1280),
}
# A server that says nothing for this long is not there.
_PATIENCE_SECONDS = 20.0


class TransferNetwork(FrameNetwork):
    """A torchvision network whose pooled features are the embedding; see `BackboneSpec`.

    torchvision's weights expect colours standardised over ImageNet, about zero mean and unit deviation; what
    `normalise_crops` gives is that already.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__(spec)
        head, features = _HEADS[spec.name]
        # VGG's own classifier has 120 M parameters: without memory until it is thrown away.
        with torch.device("meta"):
            trunk = torchvision.models.get_model(spec.name, weights=None)
            setattr(trunk, head, nn.Identity())
        if spec.name == "vgg16":
            trunk.avgpool = nn.AdaptiveAvgPool2d(1)
        self.trunk = trunk.to_empty(device=torch.get_default_device())
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        self.add_classifiers(features)

    def embed(self, x: Tensor) -> Tensor:
        side = self.spec.input_side_px
        assert side is not None  # the spec has its default for these networks
        if x.shape[-1] != side:
            x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=False)
        return self.trunk(x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))

    def load_imagenet(self) -> None:
        """Take torchvision's default ImageNet weights for all but the classifiers.

        Raises:
            TrainingError: they can neither be fetched nor are they in torch's cache.
        """
        name = self.spec.name
        weights = torchvision.models.get_model_weights(name).DEFAULT
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        wrong = (
            f"{folder / Path(weights.url).name}: not the ImageNet weights of {name}, delete it to fetch them"
        )
        patience = socket.getdefaulttimeout()
        # torch opens the address without a limit of its own, and announces it on stdout.
        socket.setdefaulttimeout(_PATIENCE_SECONDS)
        try:
            with redirect_stdout(io.StringIO()):
                state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, HTTPException) as error:
            raise TrainingError(
                f"ImageNet weights of {name} cannot be fetched from {weights.url} ({_reason(error)}): place "
                f"that file in {folder}, or train with pretrained false"
            ) from error
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise TrainingError(f"{wrong} ({_reason(error)})") from error
        finally:
            socket.setdefaulttimeout(patience)
        head = _HEADS[name][0] + "."
        try:
            self.trunk.load_state_dict({k: v for k, v in state.items() if not k.startswith(head)})
        except (RuntimeError, AttributeError) as error:
            raise TrainingError(f"{wrong} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
