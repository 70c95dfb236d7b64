"""X3D over crops: shapes, pixels as they come, what does not fit."""

import pytest
import torch

from emotemporal.models.clip3d import Clip3dNetwork
from emotemporal.models.specs import Clip3dSpec

TINY = {"side_px": 32, "width_factor": 0.5, "depth_factor": 0.3, "head_width": 16}


def make_network(num_frames: int = 4, **changes) -> Clip3dNetwork:
    torch.manual_seed(0)
    return Clip3dNetwork(Clip3dSpec(num_frames=num_frames, **(TINY | changes)), num_classes=6).eval()


@pytest.mark.parametrize("num_frames", [1, 4])
@pytest.mark.parametrize("side", [32, 48])
def test_crops_of_any_side_become_logits(num_frames, side):
    crops = torch.randint(0, 256, (2, num_frames, side, side, 3), dtype=torch.uint8)
    logits = make_network(num_frames)(crops)
    assert logits.shape == (2, 6)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits[0], logits[1])


def test_gray_is_equal_channels_and_the_type_of_pixels_does_not_matter():
    network = make_network()
    gray = torch.randint(0, 256, (2, 4, 32, 32), dtype=torch.uint8)
    colour = gray.unsqueeze(-1).repeat(1, 1, 1, 1, 3)
    torch.testing.assert_close(network(gray), network(colour))
    torch.testing.assert_close(network(gray), network(gray.float()))


def test_a_clip_does_not_depend_on_its_batch():
    network = make_network()
    crops = torch.randint(0, 256, (3, 4, 48, 48, 3), dtype=torch.uint8)
    torch.testing.assert_close(network(crops)[1:2], network(crops[1:2]), rtol=1e-4, atol=1e-5)


def test_the_order_of_frames_matters():
    network = make_network()
    crops = torch.randint(0, 256, (1, 4, 32, 32, 3), dtype=torch.uint8)
    assert (network(crops) - network(crops.flip(1))).abs().max() > 1e-5


@pytest.mark.parametrize("shape", [(2, 3, 32, 32, 3), (4, 32, 32), (2, 4, 32, 32, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"crops must have shape \(B, 4, S, S\) or .*found"):
        make_network()(torch.zeros(shape))


@pytest.mark.parametrize(
    "changes", [{"num_frames": 0}, {"side_px": 16}, {"width_factor": 0.0}, {"depth_factor": -1.0}]
)
def test_impossible_dimensions_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Clip3dSpec(**changes)
