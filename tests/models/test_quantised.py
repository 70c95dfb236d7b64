"""The frame network in 8-bit integers says nearly what it says in float32, without any data."""

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import default_checkpoint, load_checkpoint
from emotemporal.errors import UsageError
from emotemporal.labels import FER7
from emotemporal.models import openvino as openvino_models
from emotemporal.models.backbone import build_backbone
from emotemporal.models.openvino import OpenVinoFrame
from emotemporal.models.quantised import quantise_network
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.weights import load_frame_network

TINY = BackboneSpec(widths=(8, 16), depths=(1, 1), label_sets={"fer7": FER7})


def smooth_crops(num):
    rng = np.random.default_rng(1)
    coarse = torch.from_numpy(rng.uniform(0, 255, (num, 1, 6, 6)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=48, mode="bicubic")
    return fine.clamp(0, 255)[:, 0].byte().numpy()


def probs_of(found):
    return torch.from_numpy(np.asarray(found)).softmax(1).numpy()


def test_inputs_and_weights_are_rounded_to_their_steps():
    torch.manual_seed(0)
    network = build_backbone(TINY).eval()
    block = network.blocks[0]
    block.norm1.bias.data.fill_(0.5)
    block.norm1.weight.data.fill_(-0.25)
    quantised = quantise_network(network).blocks[0].conv1
    # 0.5 + 6 * 0.25, in 255 steps.
    assert quantised.step == pytest.approx(2 / 255)
    # A kernel that passes the middle on shows what it was given.
    identity = torch.zeros_like(quantised.weight)
    identity[:, :, 1, 1] = torch.eye(8)
    quantised.weight = torch.nn.Parameter(identity)
    quantised.weight_steps = torch.nn.Buffer(torch.full((8,), 1 / 63))
    given = torch.tensor([-1.0, 0.0, 0.001, 0.0059, 0.99, 2.0, 5.0, 0.1])
    out = quantised(given.view(1, 8, 1, 1).expand(1, 8, 3, 3))[0, :, 1, 1]
    steps = torch.tensor([0, 0, 0, 1, 126, 255, 255, 13])
    torch.testing.assert_close(out, steps * 2 / 255, atol=2e-6, rtol=0)


def test_a_network_is_copied_not_changed():
    torch.manual_seed(0)
    network = build_backbone(TINY).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quantise_network(network)
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_other_networks_are_refused():
    network = build_backbone(BackboneSpec(name="resnet18", input_side_px=64, label_sets={"fer7": FER7}))
    with pytest.raises(UsageError, match="not resnet18"):
        quantise_network(network)


@pytest.mark.needs_weights
@pytest.mark.slow
def test_the_shipped_network_keeps_its_labels_in_integers(monkeypatch, tmp_path):
    """As OpenVINO runs it on processors without bf16, compiled and taken from what is kept."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_models, "computes_in_bf16", lambda: False)
    monkeypatch.setattr("emotemporal.compiled.computes_in_bf16", lambda: False)
    monkeypatch.setenv("EMOTEMPORAL_CACHE", str(tmp_path))
    checkpoint = load_checkpoint(default_checkpoint())
    network = load_frame_network(checkpoint)
    crops = smooth_crops(64)
    exact, rounded = (run_backbone(net, crops) for net in (network, quantise_network(network)))
    exact = probs_of(exact["fer7"])
    assert np.abs(probs_of(rounded["fer7"]) - exact).mean() < 0.005
    for make_network in (lambda: network, lambda: pytest.fail("what is kept was not used")):
        frame = OpenVinoFrame(network.spec, make_network, identity=checkpoint.sha256)
        assert frame.precision == "int8"
        found = frame.run(crops)
        assert np.abs(probs_of(found["fer7"]) - exact).mean() < 0.005
        assert np.abs(probs_of(found["fer7"]) - exact).max() < 0.1
        clear = np.sort(exact, axis=1)[:, -1] - np.sort(exact, axis=1)[:, -2] > 0.1
        assert clear.sum() > 20
        np.testing.assert_array_equal(probs_of(found["fer7"]).argmax(1)[clear], exact.argmax(1)[clear])
        # Sums of integers do not depend on what else is in the batch.
        alone = frame.run(crops[5:6])
        np.testing.assert_allclose(alone["fer7"], found["fer7"][5:6], atol=1e-4)
