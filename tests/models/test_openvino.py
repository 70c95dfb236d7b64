"""The frame network under OpenVINO says what it says under PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import default_checkpoint, load_checkpoint
from emotemporal.errors import UsageError
from emotemporal.labels import FER7, FERPLUS8
from emotemporal.models.backbone import build_backbone
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.models.openvino import OpenVinoFrame, OpenVinoHead
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.models.torch_runners import TorchFrame, TorchHead
from emotemporal.networks import build_classifier
from emotemporal.structures import PaddedClips

TINY = BackboneSpec(widths=(8, 16), depths=(1, 1), label_sets={"fer7": FER7, "ferplus8": FERPLUS8})


def test_a_tiny_network_of_two_classifiers():
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = build_backbone(TINY)
    crops = np.random.default_rng(0).integers(0, 256, (11, 48, 48), dtype=np.uint8)
    compiled = OpenVinoFrame(network.spec, lambda: network)
    found = compiled.run(crops, batch_size=4)
    assert {name: array.shape for name, array in found.items()} == {
        "embedding": (11, 16),
        "fer7": (11, 7),
        "ferplus8": (11, 8),
    }
    # The order of the classifiers and of the faces holds, whatever the batches.
    np.testing.assert_array_equal(compiled.run(crops[5:6])["fer7"], found["fer7"][5:6])
    whole = EmotionClassifier(TorchFrame(network), labels=FER7, temperature=1.0).classify_crops(crops)
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


@pytest.mark.parametrize("kind", ["gru", "bigru", "transformer"])
def test_a_head_says_what_it_says_under_pytorch(kind):
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    head = TemporalHead(
        HeadSpec(kind=kind, width=8), embedding_dim=16, num_classes=7, trained_classes=[0, 3, 4]
    ).eval()
    for layer in (head.frame_correction, head.clip_correction):
        torch.nn.init.normal_(layer.weight)
    rng = np.random.default_rng(0)
    compiled, reference = (
        OpenVinoHead(head.spec, lambda: head, temperature=1.6),
        TorchHead(head, temperature=1.6),
    )
    for lengths in ([40, 7, 1], [90]):
        seconds = [np.cumsum(rng.uniform(0.02, 0.2, length)) for length in lengths]
        embeddings = [rng.normal(size=(length, 16)).astype(np.float32) for length in lengths]
        log_probs = [np.log(rng.dirichlet(np.ones(7), length)).astype(np.float32) for length in lengths]
        clips = PaddedClips.pad(embeddings, log_probs, seconds)
        (frames, of_clips), (expected, expected_clips) = compiled.run(clips), reference.run(clips)
        np.testing.assert_allclose(of_clips, expected_clips, atol=1e-5)
        np.testing.assert_allclose(frames[clips.mask], expected[clips.mask], atol=1e-5)


@pytest.mark.needs_weights
def test_predictions_load_no_pytorch_once_the_networks_are_compiled(tmp_path):
    pytest.importorskip("openvino")
    default_checkpoint()
    script = tmp_path / "predict.py"
    script.write_text(
        "import sys\n"
        "from emotemporal import EmotionPipeline\n"
        "found = EmotionPipeline.load(device='cpu').analyze(sys.argv[1])\n"
        "assert found.timelines[0].clip['head'].emotion in found.labels\n"
        "print('torch' in sys.modules)\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "EMOTEMPORAL_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(script), str(root / "examples" / "demo.mp4")]
    loaded = [
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    ]
    assert loaded == ["True", "False"]


def test_a_missing_openvino_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'emotemporal\[openvino\]'"):
        OpenVinoFrame(TINY, lambda: build_backbone(TINY))


def test_a_network_that_sees_landmarks_is_refused():
    network = BackboneSpec(widths=(8,), depths=(1,), landmarks=5)
    with pytest.raises(UsageError, match="backend torch"):
        OpenVinoFrame(network, lambda: build_backbone(network))


def test_a_gpu_is_refused():
    with pytest.raises(UsageError, match="device cpu"):
        build_classifier(load_checkpoint(default_checkpoint()), device="cuda", backend="openvino")
