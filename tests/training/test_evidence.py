"""What is kept of a frame network's evidence is what it says now, or it is not used."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from emotemporal.checkpoint import load_checkpoint, save_checkpoint
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.datasets.evidence import clip_evidence, evidence_path
from emotemporal.datasets.sequences import load_sequences
from emotemporal.errors import OutputError
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.networks import build_classifier
from emotemporal.structures import CropSequence


@pytest.fixture
def store(toy_store, tmp_path) -> CropStore:
    return CropStore.open(shutil.copytree(toy_store, tmp_path / "store"))


@pytest.fixture
def classifier(frame_checkpoint) -> EmotionClassifier:
    return build_classifier(load_checkpoint(frame_checkpoint))


@pytest.fixture
def seen(monkeypatch) -> list[int]:
    """The numbers of crops that the frame network is run over from now on."""
    numbers = []
    run = EmotionClassifier.classify_crops

    def counted(self, crops, landmarks=None):
        numbers.append(len(crops))
        return run(self, crops, landmarks)

    monkeypatch.setattr(EmotionClassifier, "classify_crops", counted)
    return numbers


def keep(store, classifier) -> Path:
    clip_evidence(store, classifier, [row.clip_id for row in store.read_index()], keep=True)
    return evidence_path(store, classifier)


def assert_same(found, expected):
    assert [(clip.clip_id, clip.label) for clip in found] == [(clip.clip_id, clip.label) for clip in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.pts_seconds, other.pts_seconds)
        assert len(one.views) == len(other.views)
        for view, wanted in zip(one.views, other.views, strict=True):
            for name in ("embeddings", "log_probs"):
                np.testing.assert_array_equal(getattr(view, name), getattr(wanted, name))
                assert getattr(view, name).dtype == getattr(wanted, name).dtype


def test_kept_values_are_those_computed_afresh(store, classifier, seen):
    fresh = load_sequences(store, classifier)
    # Only where it was asked for is anything kept.
    assert not (store.folder / "evidence").exists()
    path = keep(store, classifier)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    seen.clear()
    assert_same(load_sequences(store, classifier), fresh)
    some = load_sequences(store, classifier, subjects=["bob"])
    assert_same(some, [clip for clip in fresh if clip.subject == "bob"])
    assert seen == []


def test_a_copied_store_keeps_its_evidence(store, classifier, seen, tmp_path):
    keep(store, classifier)
    seen.clear()
    # With other times of change.
    shutil.copytree(store.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    load_sequences(CropStore.open(tmp_path / "copy"), classifier)
    assert seen == []


@pytest.mark.parametrize("damage", ["bit", "cut", "text"])
def test_damaged_evidence_is_computed_again_and_said(store, classifier, seen, damage):
    fresh = load_sequences(store, classifier)
    path = keep(store, classifier)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "cut": whole[:-100],
            "text": b"no arrays",
        }[damage]
    )
    seen.clear()
    lines = []
    assert_same(load_sequences(store, classifier, on_line=lines.append), fresh)
    assert len(seen) == 8
    (line,) = lines
    assert line.startswith(f"warning: {path}: damaged")
    assert "\n" not in line
    assert path.read_bytes() == whole
    assert_same(load_sequences(store, classifier, on_line=lines.append), fresh)
    assert len(seen) == 8
    assert len(lines) == 1


def test_another_checkpoints_evidence_is_not_used(store, classifier, frame_checkpoint, seen, tmp_path):
    path = keep(store, classifier)
    checkpoint = load_checkpoint(frame_checkpoint)
    other = tmp_path / "other.safetensors"
    halved = {name: value / 2 if value.ndim > 1 else value for name, value in checkpoint.tensors.items()}
    save_checkpoint(other, checkpoint.header, halved)
    other_classifier = build_classifier(load_checkpoint(other))
    seen.clear()
    found = load_sequences(store, other_classifier)
    assert len(seen) == 8
    kept = load_sequences(store, classifier)
    assert np.abs(found[0].views[0].log_probs - kept[0].views[0].log_probs).max() > 1e-3
    # Even under its name: what counts stands in the file.
    shutil.copy(path, evidence_path(store, other_classifier))
    assert_same(load_sequences(store, other_classifier), found)
    assert len(seen) == 16


def test_only_a_clip_cut_anew_is_seen_again(store, classifier, seen):
    keep(store, classifier)
    before = store.read("clip3")
    crops = before.crops
    changed = CropSequence(1, crops.frame_index, crops.pts_seconds, 255 - crops.crops)
    item = ClipItem(store.folder / "clip3.mp4", "clip3", "happy", "bob")
    store.write(item, StoredClip(before.num_frames, 1, changed))
    seen.clear()
    clips = {clip.clip_id: clip for clip in load_sequences(store, classifier)}
    assert seen == [12]
    fresh = classifier.classify_crops(changed.crops)
    np.testing.assert_allclose(clips["clip3"].views[0].log_probs, fresh.log_probs, atol=1e-5)
    load_sequences(store, classifier)
    assert seen == [12, 6]


def test_a_store_that_cannot_be_written_is_still_read(store, classifier, seen, monkeypatch):
    fresh = load_sequences(store, classifier)
    path = keep(store, classifier)
    path.write_bytes(b"")

    def refuse(*arguments):
        raise OutputError("cannot write it: read-only")

    monkeypatch.setattr("emotemporal.datasets.evidence.replacing", refuse)
    lines = []
    assert_same(load_sequences(store, classifier, on_line=lines.append), fresh)
    assert [line.partition(":")[0] for line in lines] == ["warning", "warning"]
    with pytest.raises(OutputError):
        keep(store, classifier)
