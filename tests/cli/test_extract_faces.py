"""Extraction from the command line, on clips of nine frames."""

import csv
import importlib.util
import shutil

import numpy as np
import pytest

from emotemporal.checkpoint import load_checkpoint
from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.sequences import load_sequences
from emotemporal.faces import landmarks
from emotemporal.networks import build_classifier


def row_of(table: str, name: str) -> list[str]:
    """Return the words after a row's name."""
    (line,) = [line for line in table.splitlines() if line.startswith(name + "  ")]
    return line.removeprefix(name).split()


def test_extraction_goes_on_where_it_stopped(manifest, store, capsys):
    journal = store / "shards" / "0000.journal"
    first = journal.read_bytes().splitlines(keepends=True)[0]
    assert journal.read_bytes().count(b"\n") == 2
    # As if it had been killed while it wrote the second clip.
    journal.write_bytes(first + b"half a li")
    data = (store / "shards" / "0000.bin").read_bytes()
    assert extract_faces([str(manifest), "--output", str(store)]) == 0
    printed = capsys.readouterr()
    assert "1 of 2 clips are in the store already" in printed.err
    assert row_of(printed.out, "clips") == ["2", "of", "2", "videos"]
    assert row_of(printed.out, "frames")[0] == "18"
    assert row_of(printed.out, "of several tracks")[0] == "2"
    assert (store / "shards" / "0000.bin").read_bytes() == data
    assert (store / "shards" / "0001.journal").read_bytes().count(b"\n") == 1


def test_an_unreadable_video_is_named_and_the_others_are_kept(short_clip, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("no video")
    (tmp_path / "manifest.csv").write_text(f"path,label\n{short_clip},happy\nbad.mp4,sad\n")
    assert extract_faces([str(tmp_path), "--output", str(tmp_path / "store")]) == 1
    printed = capsys.readouterr()
    assert "bad.mp4" in printed.err
    assert row_of(printed.out, "clips") == ["1", "of", "2", "videos"]
    assert row_of(printed.out, "failed") == ["1", "bad"]
    with (tmp_path / "store" / "extraction.csv").open() as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok", "failed"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--dataset", "crema_d"], 1, "no labelled videos"),
        (["--channel", "song"], 2, "is for ravdess"),
        (["--workers", "0"], 2, "at least 1, found 0"),
        (["--side", "0"], 2, "--side"),
        (["--output", "{store}", "--side", "32"], 1, "geometry.side_px 48 in it, 32 now"),
    ],
)
def test_what_extraction_refuses(store, tmp_path, capsys, arguments, code, text):
    (tmp_path / "fear").mkdir()
    (tmp_path / "fear" / "a.mp4").touch()
    arguments = [argument.format(store=store) for argument in arguments]
    assert extract_faces([str(tmp_path), "--output", str(tmp_path / "new"), *arguments]) == code
    assert text in capsys.readouterr().err


def test_landmarks_without_their_extra_are_one_line(manifest, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    hidden = "face_recognition_models"
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None if name == hidden else find(name))
    arguments = [str(manifest), "--output", str(tmp_path / "store"), "--landmarks68"]
    assert extract_faces(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "pip install 'emotemporal[landmarks]'" in line
    assert not (tmp_path / "store").exists()


def test_landmarks_are_kept_and_come_back(manifest, store, tiny_frame_checkpoint, tmp_path, capsys):
    pytest.importorskip("dlib")
    folder = tmp_path / "store"
    assert extract_faces([str(manifest), "--output", str(folder), "--landmarks68"]) == 0
    with_points, plain = CropStore.open(folder), CropStore.open(store)
    classifier = build_classifier(load_checkpoint(tiny_frame_checkpoint))
    for clip, other in zip(*(load_sequences(s, classifier) for s in (with_points, plain)), strict=True):
        assert other.landmarks68 is None
        assert clip.landmarks68.shape == (len(clip), 68, 2)
        np.testing.assert_array_equal(clip.views[0].log_probs, other.views[0].log_probs)
        crops = with_points.read(clip.clip_id).crops
        np.testing.assert_array_equal(crops.crops, plain.read(clip.clip_id).crops.crops)
        np.testing.assert_array_equal(clip.landmarks68, crops.landmarks68)
    assert extract_faces([str(manifest), "--output", str(store), "--landmarks68"]) == 1
    assert "(landmarks68 False in it, True now); choose a new folder" in capsys.readouterr().err


def test_relabelling_leaves_the_crops(short_clip, tmp_path, capsys):
    videos, folder = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    (videos / "02-01-02-01-01-01-07.mp4").write_bytes(short_clip.read_bytes())
    for calm, label in (("keep", "calm"), ("neutral", "neutral")):
        assert extract_faces([str(videos), "--output", str(folder), "--calm", calm]) == 0
        (row,) = CropStore.open(folder).read_index()
        assert (row.label, row.subject, row.fields["statement"]) == (label, "07", "kids")
    assert (
        "1 calm clips are labelled neutral\n1 of 1 clips are in the store already" in capsys.readouterr().err
    )


def test_extraction_keeps_embeddings(manifest, store, tiny_frame_checkpoint, tmp_path, capsys):
    folder = shutil.copytree(store, tmp_path / "store")
    arguments = [str(manifest), "--output", str(folder)]
    assert extract_faces([*arguments, "--embeddings", str(tiny_frame_checkpoint)]) == 0
    (kept,) = (folder / "evidence").iterdir()
    num_seen = sum(row.num_seen for row in CropStore.open(folder).read_index())
    with np.load(kept) as arrays:
        # Of every crop as it is, and mirrored.
        assert arrays["embeddings"].shape == (2, num_seen, 16)
        assert arrays["log_probs"].shape == (2, num_seen, 7)
    first = kept.stat().st_mtime_ns
    assert extract_faces([*arguments, "--embeddings", str(tiny_frame_checkpoint)]) == 0
    assert kept.stat().st_mtime_ns == first


def test_embeddings_of_what_is_no_frame_network(manifest, tiny_clip_checkpoint, tmp_path, capsys):
    arguments = [str(manifest), "--output", str(tmp_path / "store")]
    assert extract_faces([*arguments, "--embeddings", str(tiny_clip_checkpoint)]) == 1
    assert "a clip checkpoint, expected a frame one" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_embeddings_of_another_geometry(manifest, tiny_frame_checkpoint, tmp_path, capsys):
    arguments = [str(manifest), "--output", str(tmp_path / "store"), "--side", "32"]
    assert extract_faces([*arguments, "--embeddings", str(tiny_frame_checkpoint)]) == 2
    assert "side 48 and its own template, not these of side 32" in capsys.readouterr().err
