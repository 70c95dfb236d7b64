"""Heads of each stream: what only landmarks tell is learnt from landmarks, and a missing stream is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import load_checkpoint
from emotemporal.cli.evaluate import main as evaluate
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.datasets.sequences import ClipSequence, add_geometry, collate, load_sequences
from emotemporal.errors import DataError, UsageError
from emotemporal.faces.geometry import STREAM_DIM, TEMPLATE, geometry_stream, mirror_points
from emotemporal.labels import FER7
from emotemporal.models.specs import HeadSpec
from emotemporal.networks import build_classifier
from emotemporal.structures import CropGeometry, CropSequence
from emotemporal.training.clip import train_clip
from emotemporal.training.config import ClipConfig, OptimConfig, RunConfig, SequenceAugmentation
from emotemporal.training.engine import make_fabric
from emotemporal.training.evaluation import predict_clips
from emotemporal.training.heads import train_head
from emotemporal.weights import load_head

NUM_FRAMES = 30
SECONDS = np.arange(NUM_FRAMES) / 25
UPPER, LOWER = [50, 51, 52, 61, 62, 63], [56, 57, 58, 65, 66, 67]


def talking_face(label: int, rng: np.random.Generator) -> np.ndarray:
    """A mouth that opens (label 3) or stays shut, trembling, in somebody's place and size."""
    faces = np.repeat(TEMPLATE[None], NUM_FRAMES, axis=0)
    gap = 0.15 * np.sin(np.pi * SECONDS / SECONDS[-1]) if label == 3 else np.zeros(NUM_FRAMES)
    faces[:, UPPER, 1] -= gap[:, None] / 2
    faces[:, LOWER, 1] += gap[:, None] / 2
    faces = faces + rng.normal(scale=0.005, size=faces.shape)
    return (rng.uniform(60, 120) * faces + rng.uniform(100, 400, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def landmark_store(tmp_path_factory):
    """Eight clips of two people whose crops are all the same noise: landmarks alone tell them apart."""
    rng = np.random.default_rng(2)
    folder = tmp_path_factory.mktemp("landmarks")
    store = CropStore.create(folder, CropGeometry(), {}, landmarks68=True)
    crops = rng.integers(0, 256, (NUM_FRAMES, 48, 48, 3), dtype=np.uint8)
    items = []
    for i in range(9):
        label = (0, 3)[i % 2]
        clip_id = f"clip{i}"
        video = folder / f"{clip_id}.mp4"
        video.touch()
        items.append(ClipItem(video, clip_id, FER7[label], ("ann", "bob")[i // 2 % 2]))
        sequence = None
        if i < 8:
            sequence = CropSequence(1, np.arange(NUM_FRAMES), SECONDS, crops, talking_face(label, rng))
        store.write(items[-1], StoredClip(NUM_FRAMES, 1 if sequence else 0, sequence))
    store.write_index(items)
    return folder


def make_config(store, checkpoint, folder, *, streams, kind="bigru", epochs=30, **changes) -> ClipConfig:
    settings = {
        "store": store,
        "frame_checkpoint": checkpoint,
        "protocol": "none",
        "head": HeadSpec(kind=kind, streams=streams, width=8, num_attention_heads=2, dropout=0.1),
        "augmentation": SequenceAugmentation(max_stretch=0.2),
        "optim": OptimConfig(epochs=epochs, batch_size=4, optimizer="adamw", lr=0.01, ema_decay=0.5),
        "run": RunConfig(folder=folder, precision="32-true", accelerator="cpu"),
    }
    return ClipConfig(**(settings | changes))


def train(*arguments, **changes):
    return train_clip(make_config(*arguments, **changes), on_line=lambda line: None)


def num_right(path, store) -> int:
    classifier = build_classifier(load_checkpoint(path))
    predictions = predict_clips(classifier, load_sequences(CropStore.open(store), classifier))
    return sum(prediction.pred("head") == prediction.label for prediction in predictions)


@pytest.mark.parametrize(
    ("streams", "kind"),
    [("geometry", "bigru"), ("geometry", "gru"), ("geometry", "transformer"), ("both", "gru")],
)
def test_what_only_landmarks_tell_is_learnt(landmark_store, frame_checkpoint, tmp_path, streams, kind):
    path = train(landmark_store, frame_checkpoint, tmp_path, streams=streams, kind=kind)
    assert num_right(path, landmark_store) == 8


def test_crops_alone_do_not_tell_it(landmark_store, frame_checkpoint, tmp_path):
    path = train(landmark_store, frame_checkpoint, tmp_path, streams="appearance")
    assert num_right(path, landmark_store) <= 4


def rising_or_falling(num: int) -> list[ClipSequence]:
    """Clips of no frame network whose mean tells nothing: three of their columns rise or fall."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(num):
        length = int(rng.integers(6, 10))
        course = np.linspace(-1, 1, length)[:, None] * (1 if i % 2 else -1) * (np.arange(STREAM_DIM) < 3)
        views = tuple(
            (course + rng.normal(scale=0.1, size=course.shape)).astype(np.float32) for _ in range(2)
        )
        clips.append(ClipSequence(str(i), i % 2, "", np.arange(length) / 4, (), geometry=views))
    return clips


@pytest.mark.parametrize("kind", ["gru", "bigru", "transformer"])
def test_an_order_in_time_is_learnt_without_a_frame_network(tmp_path, kind):
    clips = rising_or_falling(24)
    config = make_config(tmp_path, tmp_path, tmp_path, streams="geometry", kind=kind, epochs=25)
    head = train_head(config, clips, make_fabric(config.run), num_classes=2).eval()
    batch = collate([(clip, 0, np.arange(len(clip))) for clip in clips])
    assert batch.embeddings is None
    with torch.inference_mode():
        out = head(batch.embeddings, batch.evidence, batch.seconds, batch.mask, batch.geometry)
    assert (out.clip_logits.argmax(1) == batch.labels).float().mean() > 0.9


def test_people_are_held_out(landmark_store, frame_checkpoint, tmp_path):
    path = train(
        landmark_store, frame_checkpoint, tmp_path, streams="geometry", protocol="leave-one-subject-out"
    )
    measured = load_checkpoint(path).header.metrics["leave-one-subject-out"]
    assert measured["head"]["accuracy"] == pytest.approx(8 / 9)


@pytest.mark.parametrize("streams", ["appearance", "geometry", "both"])
def test_the_checkpoint_tells_its_streams(landmark_store, frame_checkpoint, tmp_path, streams):
    path = train(landmark_store, frame_checkpoint, tmp_path, streams=streams, epochs=1)
    checkpoint = load_checkpoint(path)
    assert checkpoint.header.head.streams == streams
    assert ("dlib" in checkpoint.header.licence) == (streams != "appearance")
    head = load_head(checkpoint)
    assert hasattr(head, "embed") == (streams != "geometry")
    assert hasattr(head, "embed_geometry") == (streams != "appearance")


def test_resuming_equals_not_stopping(landmark_store, frame_checkpoint, tmp_path):
    def stop(line):
        if line.startswith("epoch 10"):
            raise KeyboardInterrupt

    settings = {"streams": "both", "epochs": 12}
    whole = train(landmark_store, frame_checkpoint, tmp_path / "whole", **settings)
    broken = make_config(landmark_store, frame_checkpoint, tmp_path / "broken", **settings)
    with pytest.raises(KeyboardInterrupt):
        train_clip(broken, on_line=stop)
    expected, found = (
        load_checkpoint(p).tensors for p in (whole, train_clip(broken, on_line=lambda _: None))
    )
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


def test_mirrored_views_have_mirrored_landmarks(landmark_store, frame_checkpoint):
    classifier = build_classifier(load_checkpoint(frame_checkpoint))
    clip = add_geometry(load_sequences(CropStore.open(landmark_store), classifier)[1])
    mirrored = geometry_stream(mirror_points(clip.landmarks68), clip.pts_seconds)
    np.testing.assert_array_equal(clip.geometry[1], mirrored)
    rows = np.array([2, 5])
    batch = collate([(clip, 0, np.arange(4)), (clip, 1, rows)])
    assert batch.geometry.shape == (2, 4, STREAM_DIM)
    np.testing.assert_array_equal(batch.geometry[1, :2], mirrored[rows])
    assert not batch.geometry[1, 2:].any()
    assert not np.allclose(clip.geometry[0][rows], mirrored[rows], atol=1e-3)


@pytest.mark.parametrize("streams", ["geometry", "both"])
def test_a_store_without_landmarks_is_refused(toy_store, frame_checkpoint, tmp_path, streams):
    with pytest.raises(DataError, match="run extract_faces --landmarks68"):
        train(toy_store, frame_checkpoint, tmp_path, streams=streams)
    assert not list(tmp_path.iterdir())


def test_a_clip_without_landmarks_is_told(landmark_store, toy_store, frame_checkpoint, tmp_path, capsys):
    path = train(landmark_store, frame_checkpoint, tmp_path, streams="both", epochs=1)
    classifier = build_classifier(load_checkpoint(path))
    clips = load_sequences(CropStore.open(landmark_store), classifier)
    with pytest.raises(UsageError, match="trained on appearance and geometry, found appearance alone"):
        predict_clips(classifier, [replace(clips[0], landmarks68=None)])
    assert evaluate(["--checkpoint", str(path), "--data", str(toy_store)]) != 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert "holds no 68 landmarks; run extract_faces --landmarks68" in line


def test_evaluation_hands_landmarks_on(landmark_store, frame_checkpoint, tmp_path, capsys):
    path = train(landmark_store, frame_checkpoint, tmp_path, streams="geometry", epochs=1)
    assert evaluate(["--checkpoint", str(path), "--data", str(landmark_store), "--json"]) == 0
    assert '"head": {"num": 9' in capsys.readouterr().out
