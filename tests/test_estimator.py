"""The estimator: scikit-learn's conventions, on crops of patterns that a tiny network can tell apart."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from emotemporal import ClipClassifier, EmotionPipeline
from emotemporal.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.errors import DataError, UsageError, VideoError
from emotemporal.estimator import NO_FACE, clip_id_of
from emotemporal.labels import FER7
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BackboneSpec
from emotemporal.runtime import choose_backend
from emotemporal.structures import CropGeometry, CropSequence
from emotemporal.versions import versions

TINY = BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.0)
LABELS = ["joy", "sad"] * 6
GROUPS = [1, 1, 2, 2, 3, 3] * 2


def picture(label: int, rng: np.random.Generator) -> np.ndarray:
    """A 48x48 picture whose stripes tell its label."""
    wave = np.sin(np.arange(48)[:, None] * np.ones(48) * 2 * np.pi * (label + 1) / 48) * 80 + 128
    return np.clip(wave + rng.normal(0, 10, (48, 48)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def frame_checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("frame") / "frame.safetensors"
    header = CheckpointHeader(kind="frame", name="toy", labels=FER7, backbone=TINY, temperature=1.0)
    tensors = {f"backbone.{name}": value for name, value in build_backbone(TINY).state_dict().items()}
    save_checkpoint(path, header, tensors)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> tuple[list[Path], Path]:
    """Twelve videos whose crops a store holds already, a thirteenth without a face, and the store."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("videos")
    provenance = {"detector": "mtcnn", "backend": choose_backend("auto", "cpu")}
    provenance["emotemporal"] = versions()["emotemporal"]
    store = CropStore.create(folder / "store", CropGeometry(), provenance)
    paths = []
    for i in range(13):
        paths.append(folder / f"clip {i}.mp4")
        paths[-1].write_bytes(bytes([i]))
        crops = None
        if i < 12:
            label = (0, 5)[i % 2]
            rows = np.stack([picture(label + t % 2, rng) for t in range(6)])
            crops = CropSequence(1, np.arange(6), np.arange(6) / 25, np.repeat(rows[..., None], 3, axis=-1))
        store.write(ClipItem(paths[-1], clip_id_of(paths[-1]), ""), StoredClip(6, 1 if crops else 0, crops))
    return paths, store.folder


@pytest.fixture
def estimator(frame_checkpoint, videos) -> ClipClassifier:
    return ClipClassifier(frame_checkpoint, width=8, dropout=0.0, epochs=40, store=videos[1], device="cpu")


def test_parameters_go_round(estimator):
    assert is_classifier(estimator)
    again = clone(estimator).set_params(epochs=3, seed=7)
    assert again.get_params() == estimator.get_params() | {"epochs": 3, "seed": 7}


def test_what_is_not_fitted_says_so(estimator, tmp_path):
    for call in (lambda: estimator.predict(["a.mp4"]), lambda: estimator.save(tmp_path / "a.safetensors")):
        with pytest.raises(NotFittedError):
            call()


def test_it_learns_and_keeps_the_spelling_of_labels(estimator, videos):
    paths, _ = videos
    assert estimator.fit(paths[:12], LABELS) is estimator
    assert estimator.classes_.tolist() == ["joy", "sad"]
    assert estimator.score(paths[:12], LABELS) == 1.0
    probs = estimator.predict_proba(paths[:12])
    assert probs.shape == (12, 2)
    np.testing.assert_allclose(probs.sum(1), 1)
    assert not hasattr(estimator, "cv_results_")
    # Seeded: the same again.
    np.testing.assert_array_equal(clone(estimator).fit(paths[:12], LABELS).predict_proba(paths[:12]), probs)


def test_a_clip_without_a_face_is_no_class_and_an_error(estimator, videos):
    paths, _ = videos
    estimator.fit(paths, [*LABELS, "joy"])
    found = estimator.predict(paths[-2:])
    assert found[1] == NO_FACE
    assert np.isnan(estimator.predict_proba(paths[-2:])[1]).all()
    assert estimator.score(paths, [*LABELS, "joy"]) <= 12 / 13


def test_groups_are_held_out(estimator, videos):
    paths, _ = videos
    estimator.set_params(epochs=15).fit(paths, [*LABELS, "joy"], groups=[*GROUPS, 1])
    measured = estimator.cv_results_["head"]
    assert measured["num_without_prediction"] == 1
    assert set(measured["per_subject"]) == {"1", "2", "3"}
    assert set(estimator.cv_results_) == {"head", "sum", "vote"}
    estimator.fit(paths[:12], LABELS)
    assert not hasattr(estimator, "cv_results_")


def test_scikit_learns_own_cross_validation(estimator, videos):
    paths, _ = videos
    found = cross_val_predict(
        estimator.set_params(epochs=100), paths[:12], LABELS, groups=GROUPS, cv=GroupKFold(3)
    )
    assert accuracy_score(LABELS, found) > 0.9


def test_the_saved_checkpoint_says_the_same(estimator, videos, tmp_path):
    paths, store = videos
    estimator.fit(paths[:12], LABELS)
    estimator.save(tmp_path / "own.safetensors")
    checkpoint = load_checkpoint(tmp_path / "own.safetensors", kind="clip")
    assert (checkpoint.header.name, checkpoint.header.trained_labels) == ("own", ("happy", "sad"))
    pipeline = EmotionPipeline.load(tmp_path / "own.safetensors", "cpu", backend="torch")
    crops = CropStore.open(store).read(clip_id_of(paths[1])).crops
    gray = crops.crops
    said = pipeline.analyze_crops(gray, crops.pts_seconds).clip["head"].probs
    among = said[[FER7.index("happy"), FER7.index("sad")]]
    np.testing.assert_allclose(estimator.predict_proba(paths[1:2])[0], among / among.sum(), atol=1e-3)


@pytest.mark.parametrize(
    ("labels", "groups", "error", "reason"),
    [
        (["joy"], None, UsageError, "found 12 paths, 1 labels"),
        (LABELS, [1], UsageError, "1 groups"),
        (["joy"] * 12, None, UsageError, "at least two emotions"),
        (["joy", "bored"] * 6, None, DataError, "label 'bored': the frame network knows angry"),
        (["happy", "joy"] * 6, None, DataError, "the same emotion as another"),
        (LABELS, [1] * 12, DataError, "at least 2"),
    ],
)
def test_what_cannot_be_fitted_is_refused(estimator, videos, labels, groups, error, reason):
    with pytest.raises(error, match=reason):
        estimator.fit(videos[0][:12], labels, groups)


def test_a_file_that_is_no_video_is_named(estimator, videos, tmp_path):
    estimator.set_params(epochs=1).fit(videos[0][:12], LABELS)
    bad = tmp_path / "text.mp4"
    bad.write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        estimator.predict([bad])


@pytest.mark.needs_weights
def test_real_videos_from_nothing(root, tmp_path):
    """Short cuts of the demo clip, with the shipped frame network."""
    with av.open(str(root / "examples" / "demo.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for _, f in zip(range(30), container.decode(video=0))]  # noqa: B905
    paths = []
    for i, first in enumerate((0, 12)):
        paths.append(tmp_path / f"{i}.mp4")
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
            for frame in frames[first : first + 8]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    classifier = ClipClassifier(epochs=5, store=tmp_path / "store", device="cpu")
    classifier.fit(paths, ["happy", "sad"])
    assert set(classifier.predict(paths)) <= {"happy", "sad"}
    # The store has them, so that nothing was decoded again.
    assert (tmp_path / "store" / "index.csv").read_text().count(".mp4") == 2
    classifier.save(tmp_path / "own.safetensors")
    analysis = EmotionPipeline.load(tmp_path / "own.safetensors", "cpu").analyze(paths[0])
    assert analysis.timelines[0].clip["head"].emotion in FER7
