"""The frame network under OpenVINO says what it says under PyTorch."""

import sys

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import default_checkpoint, load_checkpoint
from emotemporal.errors import UsageError
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.openvino import OpenVinoBackbone
from emotemporal.models.specs import BackboneSpec
from emotemporal.networks import build_classifier

TINY = BackboneSpec(widths=(8, 16), depths=(1, 1), label_sets={"fer7": FER7, "ferplus8": FERPLUS8})


def test_a_tiny_network_of_two_classifiers():
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = build_backbone(TINY)
    crops = np.random.default_rng(0).integers(0, 256, (11, 48, 48), dtype=np.uint8)
    compiled = OpenVinoBackbone(network, num_threads=1)
    found = compiled.run(crops, batch_size=4)
    assert {name: array.shape for name, array in found.items()} == {
        "embedding": (11, 16),
        "fer7": (11, 7),
        "ferplus8": (11, 8),
    }
    # The order of the classifiers and of the faces holds, whatever the batches.
    np.testing.assert_array_equal(compiled.run(crops[5:6])["fer7"], found["fer7"][5:6])
    whole = EmotionClassifier(network, labels=FER7, temperature=1.0).classify_crops(crops)
    shifted = found["fer7"] - np.logaddexp.reduce(found["fer7"], axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(shifted), np.exp(whole.log_probs), atol=0.02)


@pytest.mark.needs_weights
@pytest.mark.slow
def test_the_shipped_network_keeps_its_labels():
    pytest.importorskip("openvino")
    checkpoint = load_checkpoint(default_checkpoint())
    rng = np.random.default_rng(1)
    # Smooth pictures, since noise is nothing that the network was made for.
    coarse = torch.from_numpy(rng.uniform(0, 255, (64, 1, 6, 6)).astype(np.float32))
    crops = (
        torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 255)[:, 0].byte().numpy()
    )
    ours, theirs = (
        np.exp(build_classifier(checkpoint, backend=backend).classify_crops(crops).log_probs)
        for backend in ("torch", "openvino")
    )
    assert np.abs(ours - theirs).max() < 0.02
    clear = np.sort(ours, axis=1)[:, -1] - np.sort(ours, axis=1)[:, -2] > 0.05
    assert clear.sum() > 30
    np.testing.assert_array_equal(ours.argmax(1)[clear], theirs.argmax(1)[clear])


def test_a_missing_openvino_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'emotemporal\[openvino\]'"):
        OpenVinoBackbone(build_backbone(TINY))


def test_a_network_that_sees_landmarks_is_refused():
    network = build_backbone(BackboneSpec(widths=(8,), depths=(1,), landmarks=5))
    with pytest.raises(UsageError, match="backend torch"):
        OpenVinoBackbone(network)


def test_a_gpu_is_refused():
    with pytest.raises(UsageError, match="device cpu"):
        EmotionClassifier(
            build_backbone(TINY), labels=FER7, temperature=1.0, device="meta", backend="openvino"
        )
