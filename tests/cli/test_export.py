"""What is written for other systems is found and understood through the JSON beside it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from emotemporal import export
from emotemporal.checkpoint import load_checkpoint, save_checkpoint
from emotemporal.cli.export import main
from emotemporal.errors import UsageError
from emotemporal.models.backbone import normalise_crops
from emotemporal.models.classifier import FrameEvidence
from emotemporal.networks import build_classifier
from emotemporal.weights import load_frame_network

FORMATS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


@pytest.fixture(scope="module")
def lively_checkpoint(tiny_ferplus_checkpoint, tmp_path_factory) -> Path:
    """A checkpoint whose head corrects much, and is calibrated."""
    tiny = load_checkpoint(tiny_ferplus_checkpoint)
    torch.manual_seed(0)
    tensors = dict(tiny.tensors)
    for name in ("head.frame_correction.weight", "head.clip_correction.weight"):
        tensors[name] = torch.randn(tensors[name].shape)
    tensors["head.motion_scale"] = torch.full_like(tensors["head.motion_scale"], 1e-3)
    path = tmp_path_factory.mktemp("lively") / "lively.safetensors"
    header = replace(
        tiny.header, temperature=1.3, head_temperature=1.5, trained_labels=tiny.header.labels[:4]
    )
    tensors["head.trained"] = torch.arange(7) < 4
    save_checkpoint(path, header, tensors)
    return path


def runner(format: str, path: Path):
    """Return what runs a file, by nothing but the package it was written for."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return lambda **inputs: dict(
            zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True)
        )
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda **inputs: {o.any_name: array for o, array in model(inputs).items()}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("format", FORMATS)
def test_files_run_as_their_json_says(lively_checkpoint, tmp_path, capsys, format):
    for package in FORMATS[format]:
        pytest.importorskip(package)
    folder = tmp_path / "made" / "here"
    command = ["--checkpoint", str(lively_checkpoint), "--format", format, "--output-dir", str(folder)]
    assert main(command) == 0
    assert "licence: test" in capsys.readouterr().out
    says = json.loads((folder / "lively.json").read_text())
    checkpoint = load_checkpoint(lively_checkpoint)
    assert says["checkpoint"] == checkpoint.identity()
    assert max(says["parity"]["largest_difference_of_probabilities"].values()) < 1e-5
    assert all(path.name.startswith("lively.") for path in folder.iterdir())

    classifier = build_classifier(checkpoint)
    crops = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
    frame, head = (runner(format, folder / says["networks"][name]["file"]) for name in ("frame", "head"))
    found = frame(crops=crops)
    assert set(found) == set(says["networks"]["frame"]["outputs"])
    with torch.inference_mode():
        expected = load_frame_network(checkpoint)(normalise_crops(torch.from_numpy(crops)))
    np.testing.assert_allclose(found["embedding"], expected.embedding, atol=1e-4)
    for name, label_set in says["label_sets"].items():
        logits = expected.logits[name].numpy() / label_set["temperature"]
        probs = softmax(found[f"logits_{name}"] / label_set["temperature"], axis=1)
        assert probs.shape == (40, len(label_set["labels"]))
        np.testing.assert_allclose(probs, softmax(logits, axis=1), atol=1e-4)

    log_probs = log_softmax(found["logits_fer7"] / says["label_sets"]["fer7"]["temperature"], axis=1)
    seconds = np.arange(40) / 25
    sequence = head(
        embeddings=found["embedding"][None],
        evidence=log_probs[None],
        seconds=seconds[None].astype(np.float32),
        mask=np.ones((1, 40), bool),
    )
    frames, clip = classifier.classify_sequence(FrameEvidence(found["embedding"], log_probs), seconds)
    # The head has moved what it is given, or there would be nothing to compare.
    assert np.abs(clip - np.exp(log_probs).mean(0)).max() > 0.05
    np.testing.assert_allclose(np.exp(sequence["frame_log_probs"][0]), frames, atol=1e-4)
    np.testing.assert_allclose(np.exp(sequence["clip_log_probs"][0]), clip, atol=1e-4)


def test_a_frame_checkpoint_has_no_head(tiny_frame_checkpoint, tmp_path):
    pytest.importorskip("openvino")
    found = export.export_checkpoint(load_checkpoint(tiny_frame_checkpoint), tmp_path, format="openvino")
    assert [path.name for path in found.files] == [
        "tiny_frame.frame.bin",
        "tiny_frame.frame.xml",
        "tiny_frame.json",
    ]
    assert set(found.parity) == {"frame"}


def test_what_says_something_else_is_not_kept(tiny_frame_checkpoint, tmp_path, capsys, monkeypatch):
    pytest.importorskip("openvino")
    normalise = export.normalise_crops
    monkeypatch.setattr(export, "normalise_crops", lambda crops: 3 * normalise(crops))
    command = ["--checkpoint", str(tiny_frame_checkpoint), "--format", "openvino", "--output-dir"]
    assert main([*command, str(tmp_path / "new")]) == 1
    error = capsys.readouterr().err
    assert "differs from PyTorch by" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "tiny_frame.json").write_text("of before")
    assert main([*command, str(tmp_path)]) == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_extra_is_named(tiny_frame_checkpoint, tmp_path, capsys, monkeypatch, format):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    command = ["--checkpoint", str(tiny_frame_checkpoint), "--format", format, "--output-dir"]
    assert main([*command, str(tmp_path / "new")]) == 2
    assert f"pip install 'emotemporal[{format}]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tiny_frame_checkpoint, tmp_path, capsys):
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("in the way")
    command = ["--checkpoint", str(tiny_frame_checkpoint), "--format", "openvino", "--output-dir"]
    assert main([*command, str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {tmp_path / 'file'}: ")
    assert error.count("\n") == 1


def test_unknown_formats_and_checkpoints(tiny_frame_checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--format", "tflite"])
    assert stop.value.code == 2
    assert "tflite" in capsys.readouterr().err
    with pytest.raises(UsageError, match="'tflite' is unknown, expected one of onnx, openvino"):
        export.export_checkpoint(load_checkpoint(tiny_frame_checkpoint), tmp_path, format="tflite")
    assert main(["--checkpoint", str(tmp_path / "none.safetensors")]) == 2
    assert "no such checkpoint file" in capsys.readouterr().err
