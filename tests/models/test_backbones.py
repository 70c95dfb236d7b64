"""torchvision's networks behind the frame network's interface: shapes, checkpoints, ImageNet weights."""

import socket
from dataclasses import asdict
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from emotemporal.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from emotemporal.errors import TrainingError
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BACKBONE_NAMES, BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.networks import build_classifier
from emotemporal.weights import load_frame_network

# Length of the embedding, and parameters that torchvision says the network has without its classifier.
SIZES = {
    "resnet18": (512, 11_176_512),
    "resnet50": (2048, 23_508_032),
    "vgg16": (512, 14_714_688),
    "mobilenet_v3_large": (960, 2_971_952),
    "mobilenet_v3_small": (576, 927_008),
    "efficientnet_b0": (1280, 4_007_548),
}
LABEL_SETS = {"fer7": FER7, "ferplus8": FERPLUS8}
SMALL = "mobilenet_v3_small"


@pytest.fixture(scope="module", params=SIZES)
def network(request):
    torch.manual_seed(0)
    spec = BackboneSpec(name=request.param, input_side_px=32, label_sets=LABEL_SETS)
    network = build_backbone(spec)
    # Without statistics of some pictures in its norms an untrained network lets nothing through.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.inference_mode():
        network.train()(torch.randn(8, 1, 32, 32))
    return network.eval()


def test_every_name_is_tested():
    assert {*SIZES, "seresnet"} == set(BACKBONE_NAMES)


def test_shapes_and_parameters(network):
    width, num_parameters = SIZES[network.spec.name]
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    found = run_backbone(network, crops)
    assert found["embedding"].shape == (3, width) == (3, network.embedding_dim)
    assert found["fer7"].shape == (3, 7)
    assert found["ferplus8"].shape == (3, 8)
    # Different pictures, different embeddings, none of them exploded.
    assert 1e-4 < found["embedding"].std(0).mean() < 100
    assert sum(p.numel() for p in network.parameters()) == num_parameters + (width + 1) * 15


def test_a_checkpoint_gives_the_same_answers(network, tmp_path):
    # Matrices are stored in half precision.
    network.load_state_dict(
        {k: v.half().float() if v.ndim > 1 else v for k, v in network.state_dict().items()}
    )
    header = CheckpointHeader(kind="frame", name="x", labels=FER7, backbone=network.spec, temperature=1.0)
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, header, {f"backbone.{k}": v for k, v in network.state_dict().items()})
    loaded = load_checkpoint(path)
    assert loaded.header.backbone == network.spec
    crops = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    again = run_backbone(load_frame_network(loaded), crops)
    for name, value in run_backbone(network, crops).items():
        np.testing.assert_array_equal(again[name], value)


def test_crops_are_enlarged_to_the_side_asked_for():
    seen = []
    network = build_backbone(BackboneSpec(name=SMALL, input_side_px=40)).eval()
    network.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    network(torch.zeros(2, 1, 24, 24))
    assert seen == [(2, 3, 40, 40)]


def test_a_spec_says_only_what_is_so():
    spec = BackboneSpec(name="resnet18")
    assert (spec.widths, spec.depths, spec.input_side_px) == ((), (), 96)
    assert BackboneSpec(**asdict(spec)) == spec
    with pytest.raises(ValueError, match=r"widths and depths are seresnet's"):
        BackboneSpec(name="vgg16", widths=(8, 16), depths=(1, 1))
    with pytest.raises(ValueError, match="input_side_px 96 is for torchvision"):
        BackboneSpec(input_side_px=96)
    with pytest.raises(ValueError, match="at least 32"):
        BackboneSpec(name="resnet18", input_side_px=16)
    with pytest.raises(ValueError, match="at least one stage"):
        BackboneSpec(widths=(), depths=())
    with pytest.raises(ValueError, match="0, 5 or 68, found 4"):
        BackboneSpec(landmarks=4)


def test_a_header_from_before_these_networks_still_loads():
    old = {"name": "seresnet", "widths": [8, 16], "depths": [1, 1], "dropout": 0.2, "label_sets": LABEL_SETS}
    assert BackboneSpec(**old) == BackboneSpec(widths=(8, 16), depths=(1, 1), label_sets=LABEL_SETS)


@pytest.mark.parametrize("name", ["frame_fer2013", "clip_default"])
def test_shipped_checkpoints_still_load(root, name):
    path = root / "checkpoints" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip("the shipped checkpoints are not there")
    assert build_classifier(load_checkpoint(path)).num_landmarks == 0


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_imagenet_weights_are_taken(hub, monkeypatch):
    torch.manual_seed(1)
    reference = torchvision.models.mobilenet_v3_small(weights=None)
    monkeypatch.setattr(
        "torch.hub.download_url_to_file",
        lambda url, path, *args, **kwargs: torch.save(reference.state_dict(), path),
    )
    network = build_backbone(BackboneSpec(name=SMALL, input_side_px=64))
    network.load_imagenet()
    pictures = torch.randn(2, 1, 64, 64)
    expected = reference.eval().avgpool(reference.features(pictures.expand(-1, 3, -1, -1))).flatten(1)
    torch.testing.assert_close(network.eval()(pictures).embedding, expected)


@pytest.mark.parametrize("error", [URLError("no network"), TimeoutError("timed out"), ConnectionResetError()])
def test_without_a_network_one_line_says_what_to_do(hub, monkeypatch, capsys, error):
    waited = []

    def fail(*args, **kwargs):
        waited.append(socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(TrainingError) as caught:
        build_backbone(BackboneSpec(name=SMALL)).load_imagenet()
    message = str(caught.value)
    assert "\n" not in message
    assert "https://download.pytorch.org/models/mobilenet_v3_small" in message
    assert str(hub) in message
    assert "pretrained false" in message
    assert waited == [20.0]
    assert socket.getdefaulttimeout() is None
    assert capsys.readouterr() == ("", "")


def garbage(path):
    path.write_bytes(b"no weights")


def other_network(path):
    torch.save({"features.weight": torch.zeros(3)}, path)


@pytest.mark.parametrize("write", [garbage, other_network])
def test_a_wrong_file_in_the_cache_is_named(hub, write):
    hub.mkdir(parents=True)
    path = hub / torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url.rsplit("/", 1)[1]
    write(path)
    with pytest.raises(TrainingError, match="not the ImageNet weights") as caught:
        build_backbone(BackboneSpec(name=SMALL)).load_imagenet()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
