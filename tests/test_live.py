"""Live labels: one frame after another, nothing of the future, late frames dropped and counted."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import Checkpoint, CheckpointHeader, load_checkpoint, save_checkpoint, save_head
from emotemporal.errors import UsageError
from emotemporal.labels import FER7
from emotemporal.live import LiveLabeller, LiveSession, face_marks, frame_document
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BackboneSpec, HeadSpec
from emotemporal.models.temporal import TemporalHead
from emotemporal.pipeline import EmotionPipeline
from emotemporal.structures import Detections
from emotemporal.video.live import LiveFrame

SPEC = BackboneSpec(widths=(8, 16), depths=(1, 1))
BOXES = np.array([[20, 20, 60, 60], [90, 30, 130, 70]], np.float32)


class StillFaces:
    """Two faces that never move; the second is there until it is taken away."""

    num_faces = 2

    def detect_faces(self, frame: np.ndarray) -> Detections:
        return self._faces(BOXES[: self.num_faces], 0.99)

    def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
        there = [any(np.allclose(box, face, atol=2) for face in BOXES[: self.num_faces]) for box in boxes]
        return self._faces(boxes, np.where(there, 0.95, 0.05))

    def _faces(self, boxes, scores) -> Detections:
        points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
        landmarks = boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]
        scores = np.broadcast_to(np.asarray(scores, np.float32), (len(boxes),)).copy()
        return Detections(boxes.copy(), scores, landmarks)


def make_checkpoint(tmp_path, kind: str | None) -> Checkpoint:
    torch.manual_seed(0)
    tensors = {f"backbone.{k}": v for k, v in build_backbone(SPEC).state_dict().items()}
    spec = None
    if kind is not None:
        spec = HeadSpec(kind=kind, width=8)
        head = TemporalHead(spec, embedding_dim=16, num_classes=7, trained_classes=range(7))
        torch.nn.init.normal_(head.frame_correction.weight)
        torch.nn.init.normal_(head.clip_correction.weight)
        tensors |= {f"head.{k}": v for k, v in head.state_dict().items()}
    header = CheckpointHeader(
        kind="frame" if kind is None else "clip",
        name="tiny",
        labels=FER7,
        backbone=SPEC,
        temperature=1.0,
        head=spec,
        trained_labels=FER7 if kind else (),
    )
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return Checkpoint(tmp_path / "tiny.safetensors", "0" * 64, header, arrays)


def make_labeller(tmp_path, kind="gru", labels=None, **settings) -> LiveLabeller:
    pipeline = EmotionPipeline(make_checkpoint(tmp_path, kind), detector=StillFaces(), labels=labels)
    return LiveLabeller(pipeline, **settings)


def noise(num: int) -> np.ndarray:
    """A still scene under a flickering light, so that the networks see something else on each frame."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 200, (100, 160, 3))
    return np.clip(scene + rng.integers(0, 40, (num, 100, 160, 1)), 0, 255).astype(np.uint8)


def test_everyone_is_labelled_with_a_state_of_their_own(tmp_path):
    labeller = make_labeller(tmp_path)
    told = [labeller.label(image, i / 25) for i, image in enumerate(noise(30))]
    assert [[person.track_id for person in people] for people in told] == [[], [], *[[1, 2]] * 28]
    for people in told[2:]:
        for person in people:
            assert person.probs.sum() == pytest.approx(1, abs=1e-4)
            assert person.so_far.sum() == pytest.approx(1, abs=1e-4)
    first, second = told[-1]
    assert not np.allclose(first.so_far, second.so_far, atol=1e-3)


def test_what_is_said_of_the_frames_so_far_is_what_the_pipeline_says_of_them(tmp_path):
    """State and head as offline: the same frames as one clip give the same clip label."""
    labeller = make_labeller(tmp_path, smooth="none", frame_labels="head")
    pipeline = labeller._pipeline
    frames = noise(40)
    seen = []
    keep = pipeline.classifier.classify_crops

    def classify(crops, landmarks=None):
        found = keep(crops, landmarks)
        seen.append(found)
        return found

    pipeline.classifier.classify_crops = classify
    for i, image in enumerate(frames):
        people = labeller.label(image, i / 25)
    evidence = type(seen[0])(*(np.stack([part[k][1] for part in seen]) for k in range(2)))
    of_frames, of_clip = pipeline.classifier.classify_sequence(evidence, np.arange(2, 40) / 25)
    np.testing.assert_allclose(people[1].so_far, of_clip, atol=1e-5)
    np.testing.assert_allclose(people[1].probs, of_frames[-1], atol=1e-5)


def test_who_left_is_forgotten(tmp_path):
    labeller = make_labeller(tmp_path)
    detector = labeller._pipeline.detector
    images = noise(30)
    for i in range(80):
        detector.num_faces = 2 if i < 20 else 1
        people = labeller.label(images[i % 30], i / 25)
    assert [person.track_id for person in people] == [1]
    assert set(labeller._people) == {1}


@pytest.mark.parametrize("kind", ["bigru", None])
def test_without_a_one_way_head_the_frame_network_speaks_alone(tmp_path, kind):
    labeller = make_labeller(tmp_path, kind)
    assert not labeller.has_causal_head
    for i, image in enumerate(noise(5)):
        people = labeller.label(image, i / 25)
    assert [person.so_far for person in people] == [None, None]
    with pytest.raises(UsageError, match="no one-way head"):
        make_labeller(tmp_path, kind, frame_labels="head")


def test_labels_of_another_set(tmp_path):
    labeller = make_labeller(tmp_path, labels="binary")
    labeller.warm_up(160, 120)
    for i, image in enumerate(noise(5)):
        people = labeller.label(image, i / 25)
    assert set(labeller.labels) == {"happy", "sad"}
    assert people[0].probs.shape == people[0].so_far.shape == (2,)
    frame = LiveFrame(image, 4, 0.16, 0.0)
    document = json.loads(json.dumps(frame_document(frame, people, labeller.labels, delay_seconds=0.0123)))
    assert document["delay_ms"] == 12.3
    person = document["people"][0]
    assert set(person) == {"track_id", "box", "emotion", "confidence", "probs", "so_far"}
    assert person["box"] == [20.0, 20.0, 60.0, 60.0]
    (mark, _) = face_marks(people, labeller.labels)
    assert (mark.track_id, mark.emotion, mark.face_px) == (1, person["emotion"], 40.0)


class SlowReader:
    """Frames that were grabbed a given time ago when they are taken."""

    def __init__(self, ages: list[float]) -> None:
        self.ages = ages
        self.num_grabbed = len(ages) + 3
        self.num_dropped = 3

    def __iter__(self):
        for i, age in enumerate(self.ages):
            yield LiveFrame(noise(1)[0], i, i / 25, time.monotonic() - age)


def test_late_frames_are_dropped_and_counted(tmp_path):
    labeller = make_labeller(tmp_path)
    labeller.warm_up(160, 100)
    reader = SlowReader([0.0, 50.0, 0.0, 70.0, 0.0, 0.0])
    session = LiveSession(reader, labeller, max_delay_seconds=20.0)
    delays = [session.stamp(frame) for frame, _ in session]
    assert [delay is None for delay in delays] == [False, True, False, True, False, False]
    assert all(0 < delay < 20 for delay in delays if delay is not None)
    summary = session.summary()
    assert (summary.num_grabbed, summary.num_shown, summary.num_replaced, summary.num_late) == (9, 4, 3, 2)
    assert summary.num_people == 2
    assert summary.delay_p50_ms < 20_000
    assert 70_000 <= summary.delay_p95_ms <= summary.delay_max_ms < 90_000
    assert "4 of 9 frames shown" in str(summary)


def test_a_session_without_frames_still_has_a_summary(tmp_path):
    session = LiveSession(SlowReader([]), make_labeller(tmp_path))
    assert list(session) == []
    assert np.isnan(session.summary().delay_p50_ms)
    assert "0 of 3 frames shown" in str(session.summary())
    with pytest.raises(UsageError, match="longest delay"):
        LiveSession(SlowReader([]), make_labeller(tmp_path), max_delay_seconds=0)


def test_a_head_of_its_own_file_is_put_on_its_frame_network(tmp_path):
    frame = make_checkpoint(tmp_path, None)
    save_checkpoint(tmp_path / "frame.safetensors", frame.header, frame.tensors)
    sha256 = load_checkpoint(tmp_path / "frame.safetensors").sha256
    clip = make_checkpoint(tmp_path, "gru")
    header = replace(clip.header, training={"frame_network": {"sha256": sha256}})
    save_head(tmp_path / "head.safetensors", header, clip.tensors)
    labeller = LiveLabeller.load(
        tmp_path / "frame.safetensors", tmp_path / "head.safetensors", device="cpu", frame_labels="head"
    )
    assert labeller.has_causal_head


@pytest.mark.needs_weights
def test_the_shipped_head_fits_the_shipped_network():
    labeller = LiveLabeller.load(device="cpu", frame_labels="head")
    assert labeller.has_causal_head
    assert labeller.labels == FER7
