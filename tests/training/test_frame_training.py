"""Frame training: learns, resumes to the same weights, says what is wrong in one line."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.fer2013 import ferplus_majority, read_fer2013
from emotemporal.errors import DataError, TrainingError, UsageError
from emotemporal.labelling.calibration import fit_temperature
from emotemporal.labels import FER7, FERPLUS8, LABEL_SETS
from emotemporal.models.specs import BackboneSpec
from emotemporal.models.torch_runners import run_backbone
from emotemporal.report.palette import emotion_colour
from emotemporal.training.config import AugmentationConfig, FrameConfig, OptimConfig, RunConfig
from emotemporal.training.distillation import teacher_probs
from emotemporal.training.evaluation import evaluate_frames
from emotemporal.training.frame import train_frame
from emotemporal.training.metrics import calibration_error
from emotemporal.weights import load_frame_network

TINY = BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.1)


def make_config(data, folder, *, epochs: int = 3, lr: float = 0.05) -> FrameConfig:
    return FrameConfig(
        data=data,
        backbone=TINY,
        augmentation=AugmentationConfig(rotation_degrees=5, erase_probability=0.2),
        optim=OptimConfig(epochs=epochs, batch_size=16, lr=lr, ema_decay=0.8),
        run=RunConfig(folder=folder, precision="32-true", accelerator="cpu"),
    )


def test_learns_and_saves_what_evaluation_finds(toy_fer2013, tmp_path):
    lines = []
    path = train_frame(make_config(toy_fer2013, tmp_path, epochs=12), on_line=lines.append)
    checkpoint = load_checkpoint(path)
    found = evaluate_frames(checkpoint, read_fer2013(toy_fer2013).split("PublicTest"))
    assert found["accuracy"] > 0.8
    assert found["accuracy"] == pytest.approx(checkpoint.header.metrics["PublicTest"]["accuracy"], abs=0.05)
    assert len(lines) == 12
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, 13))
    assert checkpoint.header.temperature > 0
    assert list(tmp_path.glob("events.*"))


def test_the_second_classifier_is_calibrated_to_the_majority(toy_fer2013, toy_ferplus, tmp_path):
    config = replace(make_config(toy_fer2013, tmp_path, epochs=12), ferplus=toy_ferplus)
    checkpoint = load_checkpoint(train_frame(config, on_line=lambda line: None))
    faces = read_fer2013(toy_fer2013, ferplus=toy_ferplus).split("PublicTest")
    majority = ferplus_majority(faces.votes)
    clear = majority >= 0
    assert 0 < clear.sum() < len(faces)
    logits = run_backbone(load_frame_network(checkpoint), faces.images[clear])["ferplus8"]
    expected = fit_temperature(logits, majority[clear])
    # The weights were stored in half precision since.
    assert checkpoint.header.temperatures == {"ferplus8": pytest.approx(expected, rel=0.05)}
    tempered = logits / checkpoint.header.temperatures["ferplus8"]
    found = evaluate_frames(checkpoint, faces, labels="ferplus")
    assert found["ece"] == pytest.approx(
        calibration_error(softmax(tempered, axis=1), majority[clear]), abs=1e-3
    )
    assert found["num_left_out"] == (~clear).sum()


@pytest.mark.parametrize(("label_set", "num"), [("fer6", 21), ("binary", 6)])
def test_a_reduced_set_can_be_learnt(toy_fer2013, tmp_path, label_set, num):
    config = replace(make_config(toy_fer2013, tmp_path, epochs=20), label_set=label_set)
    checkpoint = load_checkpoint(train_frame(config, on_line=lambda line: None))
    assert checkpoint.header.labels == LABEL_SETS[label_set]
    assert dict(checkpoint.header.backbone.label_sets) == {label_set: LABEL_SETS[label_set]}
    faces = read_fer2013(toy_fer2013).split("PublicTest")
    found = evaluate_frames(checkpoint, faces)
    assert (found["num"], found["num_left_out"]) == (num, 21 - num)
    assert found["accuracy"] > 0.8
    with pytest.raises(UsageError, match="disgust"):
        evaluate_frames(checkpoint, faces, labels="fer7")


def test_a_split_without_the_set_is_refused(toy_fer2013, tmp_path):
    table = tmp_path / "fer2013.csv"
    lines = toy_fer2013.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if line[0] not in "34")]) + "\n")
    config = replace(make_config(table, tmp_path / "run"), label_set="binary")
    with pytest.raises(DataError, match="none of 60 Training faces shows an emotion of binary"):
        train_frame(config, on_line=lambda line: None)


def test_every_epoch_shows_its_confusion(toy_fer2013, tmp_path):
    train_frame(make_config(toy_fer2013, tmp_path, epochs=2), on_line=lambda line: None)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    pictures = events.Images("confusion")
    assert [picture.step for picture in pictures] == [1, 2]
    first, second = (
        cv2.imdecode(np.frombuffer(picture.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        for picture in pictures
    )
    assert first.shape == second.shape
    assert min(first.shape[:2]) > 400
    # At least the titles name different epochs.
    assert (first != second).any()
    assert (first == emotion_colour("disgust")[::-1]).all(axis=2).sum() > 20


def test_starting_from_other_weights(toy_fer2013, tmp_path):
    first = train_frame(make_config(toy_fer2013, tmp_path / "first", epochs=12), on_line=lambda line: None)
    config = make_config(toy_fer2013, tmp_path / "second", epochs=1, lr=1e-6)
    second = train_frame(replace(config, initial=first), on_line=lambda line: None)
    faces = read_fer2013(toy_fer2013).split("PublicTest")
    assert evaluate_frames(load_checkpoint(second), faces)["accuracy"] > 0.8
    wider = replace(config, initial=first, backbone=BackboneSpec(widths=(8, 12), depths=(1, 1)))
    with pytest.raises(UsageError, match="dimensions"):
        train_frame(replace(wider, run=replace(wider.run, folder=tmp_path / "third")))


def test_a_student_takes_its_teachers_word_over_wrong_labels(toy_fer2013, tmp_path):
    teacher = train_frame(
        make_config(toy_fer2013, tmp_path / "teacher", epochs=12), on_line=lambda line: None
    )
    # Every training label moved on by one: only the teacher knows better.
    header, *lines = toy_fer2013.read_text().splitlines()
    moved = [f"{(int(line[0]) + 1) % 7}{line[1:]}" if line.endswith("Training") else line for line in lines]
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("\n".join([header, *moved]) + "\n")
    faces = read_fer2013(toy_fer2013).split("PublicTest")
    accuracy = {}
    for weight in (0.0, 1.0):
        config = make_config(wrong, tmp_path / f"student{weight}", epochs=20)
        config = replace(config, teachers=[teacher], teacher_weight=weight)
        student = train_frame(config, on_line=lambda line: None)
        accuracy[weight] = evaluate_frames(load_checkpoint(student), faces)["accuracy"]
    assert accuracy[1.0] > accuracy[0.0] + 0.25


def test_a_teacher_without_the_label_set_is_refused(toy_fer2013, tmp_path):
    plain = train_frame(make_config(toy_fer2013, tmp_path / "plain", epochs=1), on_line=lambda line: None)
    images = read_fer2013(toy_fer2013).images
    spec = BackboneSpec(label_sets={"fer7": FER7, "ferplus8": FERPLUS8})
    with pytest.raises(UsageError, match="label set ferplus8"):
        teacher_probs([plain], images, spec)


def test_resuming_equals_not_stopping(toy_fer2013, tmp_path):
    whole = train_frame(make_config(toy_fer2013, tmp_path / "whole"), on_line=lambda line: None)

    def stop_after_the_first(line):
        if line.startswith("epoch 1:"):
            raise KeyboardInterrupt

    config = make_config(toy_fer2013, tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        train_frame(config, on_line=stop_after_the_first)
    lines = []
    resumed = train_frame(config, on_line=lines.append)
    assert lines[0] == "resuming after epoch 1 of 3"
    expected, found = load_file(whole), load_file(resumed)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


def test_a_run_from_before_a_setting_existed_goes_on(toy_fer2013, tmp_path):
    config = make_config(toy_fer2013, tmp_path, epochs=1)
    train_frame(config, on_line=lambda line: None)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    for name in ("label_set", "teachers", "teacher_weight", "skip_bad", "pretrained"):
        del settings[name]
    del settings["backbone"]["squeeze_excitation"]
    del settings["optim"]["schedule"]
    path.write_text(json.dumps(settings))
    lines = []
    train_frame(config, on_line=lines.append)
    assert lines == ["resuming after epoch 1 of 1"]
    settings["label_set"] = "fer6"
    path.write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="label_set"):
        train_frame(config, on_line=lambda line: None)


def test_a_loss_that_is_no_number_stops_with_the_last_state_kept(toy_fer2013, tmp_path):
    config = make_config(toy_fer2013, tmp_path, lr=1e30)
    with pytest.raises(TrainingError, match=r"loss .* lower optim\.lr"):
        train_frame(config, on_line=lambda line: None)


def test_a_used_folder_is_not_overwritten(toy_fer2013, tmp_path):
    config = make_config(toy_fer2013, tmp_path, epochs=1)
    train_frame(config, on_line=lambda line: None)
    again = FrameConfig(
        data=toy_fer2013, backbone=TINY, optim=config.optim, run=RunConfig(folder=tmp_path, resume=False)
    )
    with pytest.raises(UsageError, match="holds a run already"):
        train_frame(again, on_line=lambda line: None)


def test_missing_data(tmp_path):
    with pytest.raises(DataError, match="no such"):
        train_frame(make_config(tmp_path / "absent.csv", tmp_path / "run"), on_line=lambda line: None)
