"""The main command: its files, its output, its errors and exit codes."""

import json
import subprocess
import sys

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from file_corpus import serve

from emotemporal.cli.predict_clip import main
from emotemporal.labels import FER7
from emotemporal.models.person import PersonEvidence
from emotemporal.pipeline import EmotionPipeline

BAD_NAMES = ("text.mp4", "empty.mp4", "cut.mp4", "nothing", "absent.mp4", "long" * 80 + ".mp4")
TOOLS = ("predict_clip", "live", "extract_faces", "train_frame", "train_clip", "train_geometry", "evaluate")
OF_SEVERAL = ("summary.csv", ".emotemporal_done.jsonl")
FIXED = "frame_index pts_seconds track_id status x1 y1 x2 y2 score emotion smoothed_emotion confidence"


def test_everything_the_contract_promises(short_clip, tiny_clip_checkpoint, tmp_path, capsys):
    arguments = [str(short_clip), "--per-frame", "--overlay", "--checkpoint", str(tiny_clip_checkpoint)]
    assert main([*arguments, "--output-dir", str(tmp_path)]) == 0
    names = {"short.json", "short.frames.csv", "short.overlay.mp4"}
    assert {child.name for child in tmp_path.iterdir()} == names
    table = pd.read_csv(tmp_path / "short.frames.csv")
    expected = FIXED.split() + [f"p_{x}" for x in FER7] + [f"s_{x}" for x in FER7]
    assert list(table.columns) == expected
    assert sorted(table.frame_index.unique()) == list(range(9))
    seen = table[table.track_id.notna()]
    # Both people before the cut, one of them after it.
    assert seen.groupby("frame_index").track_id.nunique().tolist() == [2] * 7 + [1] * 2
    document = json.loads((tmp_path / "short.json").read_text())
    for person in document["people"]:
        assert set(person["clip"]) == {"head", "sum", "vote"}
        assert person["aggregations_agree"] == (len({c["emotion"] for c in person["clip"].values()}) == 1)
    assert document["checkpoint"]["name"] == "tiny"
    with av.open(str(tmp_path / "short.overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9
    assert "short.mp4" in capsys.readouterr().out


def test_json_is_alone_on_stdout(short_clip, tiny_clip_checkpoint, tmp_path, capsys):
    arguments = ["--json", "--output-dir", str(tmp_path), "--checkpoint", str(tiny_clip_checkpoint)]
    assert main([str(short_clip), *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "short.json").read_text())


def test_below_the_confidence_asked_for_everything_is_uncertain(
    short_clip, tiny_clip_checkpoint, tmp_path, capsys
):
    arguments = [str(short_clip), "--json", "--per-frame", "--output-dir", str(tmp_path)]
    arguments += ["--checkpoint", str(tiny_clip_checkpoint), "--min-confidence"]
    assert main([*arguments, "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main([*arguments, "0"]) == 0
    sure = json.loads(capsys.readouterr().out)
    assert told["settings"]["min_confidence"] == 1.0
    for person, other in zip(told["people"], sure["people"], strict=True):
        for name, result in person["clip"].items():
            assert result["emotion"] == "uncertain"
            assert result["best_emotion"] == other["clip"][name]["emotion"]
            assert result["probs"] == other["clip"][name]["probs"]
    for wrong in ("1.5", "-0.1"):
        assert main([*arguments, wrong]) == 2
        assert f"--min-confidence {wrong}: expected a probability" in capsys.readouterr().err


def test_json_of_several_inputs_is_one_document(portrait_picture, tiny_clip_checkpoint, tmp_path, capsys):
    arguments = ["--json", "--output-dir", str(tmp_path / "out"), "--checkpoint", str(tiny_clip_checkpoint)]
    assert main([str(portrait_picture.parent), *arguments]) == 0
    assert len(json.loads(capsys.readouterr().out)["videos"]) == 1
    assert main([str(tmp_path / "absent.mp4"), *arguments]) == 1
    assert capsys.readouterr().out == ""


def test_a_still_picture_is_a_clip_of_one_frame(portrait_picture, tiny_clip_checkpoint, tmp_path):
    arguments = ["--per-frame", "--overlay", "--output-dir", str(tmp_path)]
    assert main([str(portrait_picture), *arguments, "--checkpoint", str(tiny_clip_checkpoint)]) == 0
    table = pd.read_csv(tmp_path / "both.frames.csv")
    assert len(table) == 2
    assert table.pts_seconds.tolist() == [0.0, 0.0]
    drawn = cv2.imread(str(tmp_path / "both.overlay.png"))
    assert drawn.shape == cv2.imread(str(portrait_picture)).shape


def test_a_frame_network_has_no_head(portrait_picture, tiny_frame_checkpoint, tmp_path, capsys):
    arguments = ["--output-dir", str(tmp_path), "--checkpoint", str(tiny_frame_checkpoint)]
    assert main([str(portrait_picture), *arguments]) == 0
    document = json.loads((tmp_path / "both.json").read_text())
    assert set(document["people"][0]["clip"]) == {"sum", "vote"}
    for flag, others in (("--aggregate", "sum or vote"), ("--frame-labels", "network")):
        assert main([str(portrait_picture), flag, "head", *arguments]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"error: {flag} head: ")
        assert line.endswith(f"is a frame network, use {others}")


def test_frame_labels_are_those_of_the_network_or_of_the_head(short_clip, tiny_clip_checkpoint, monkeypatch):
    pipeline = EmotionPipeline.load(tiny_clip_checkpoint, "cpu")
    certain = np.eye(len(FER7), dtype=np.float32)[2]
    finish = PersonEvidence.finish
    monkeypatch.setattr(
        PersonEvidence,
        "finish",
        lambda person: (found := finish(person))._replace(
            temporal=np.tile(certain, (len(found.pts_seconds), 1)), clip=certain
        ),
    )
    for source in ("network", "head"):
        analysis = pipeline.analyze(short_clip, smooth="none", frame_labels=source)
        assert analysis.settings["frame_labels"] == source
        assert len(analysis.timelines) > 0
        for timeline in analysis.timelines:
            assert timeline.clip["head"].emotion == FER7[2]
            expected = (
                timeline.frame_probs
                if source == "network"
                else np.tile(certain, (len(timeline.frame_probs), 1))
            )
            np.testing.assert_allclose(timeline.smoothed_probs, expected, atol=1e-6)


def test_the_heads_labels_follow_a_brief_change_that_those_of_the_network_do_not(
    tiny_clip_checkpoint, monkeypatch
):
    """Each has the evidence time that was chosen for it."""
    pipeline = EmotionPipeline.load(tiny_clip_checkpoint, "cpu")
    probs = np.full((75, len(FER7)), 0.1 / (len(FER7) - 1), np.float32)
    probs[:, 0] = 0.9
    probs[30:38] = np.roll(probs[30:38], 1, axis=1)
    finish = PersonEvidence.finish
    monkeypatch.setattr(
        PersonEvidence,
        "finish",
        lambda person: finish(person)._replace(of_frames=probs, temporal=probs, clip=probs[0]),
    )
    crops = np.zeros((75, 48, 48, 3), np.uint8)
    num_changed = {
        source: np.count_nonzero(
            pipeline.analyze_crops(crops, np.arange(75) / 25, frame_labels=source).smoothed_probs.argmax(1)
        )
        for source in ("network", "head")
    }
    assert num_changed == {"network": 0, "head": 8}


def test_equal_stems_do_not_overwrite(portrait_picture, tiny_clip_checkpoint, tmp_path):
    other = tmp_path / "in" / "both.jpg"
    other.parent.mkdir()
    cv2.imwrite(str(other), cv2.imread(str(portrait_picture)))
    arguments = ["--output-dir", str(tmp_path / "out"), "--checkpoint", str(tiny_clip_checkpoint)]
    assert main([str(portrait_picture), str(other), *arguments]) == 0
    names = {child.name for child in (tmp_path / "out").iterdir()}
    assert names == {"both.json", "both-2.json", *OF_SEVERAL}


@pytest.mark.parametrize("name", ["12:30.mp4", "-dash.mp4", "with space \u00fc.mp4"])
def test_odd_names(short_clip, tiny_clip_checkpoint, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(short_clip.read_bytes())
    arguments = ["--output-dir", "out", "--overlay", "--checkpoint", str(tiny_clip_checkpoint)]
    assert main([*arguments, "--", name]) == 0
    stem = name.removesuffix(".mp4")
    assert {child.name for child in (tmp_path / "out").iterdir()} == {f"{stem}.json", f"{stem}.overlay.mp4"}


def test_numbered_pictures_and_an_address(
    short_clip, portrait_picture, tiny_clip_checkpoint, tmp_path, capsys
):
    (tmp_path / "shots").mkdir()
    for number in (100, 101, 102):
        cv2.imwrite(str(tmp_path / "shots" / f"{number:05d}.png"), cv2.imread(str(portrait_picture)))
    pattern = str(tmp_path / "shots" / "%05d.png")
    arguments = [
        "--output-dir",
        str(tmp_path / "out"),
        "--overlay",
        "--checkpoint",
        str(tiny_clip_checkpoint),
    ]
    with serve(short_clip.parent) as address:
        assert main([pattern, f"{address}/{short_clip.name}", *arguments, "--json"]) == 0
    shots, served = json.loads(capsys.readouterr().out)["videos"]
    assert (shots["video"]["num_frames"], shots["video"]["average_fps"]) == (3, 25.0)
    assert served["video"]["path"] == f"{address}/{short_clip.name}"
    for stem, expected in (("shots", 3), (short_clip.stem, served["video"]["num_frames"])):
        with av.open(str(tmp_path / "out" / f"{stem}.overlay.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == expected


@pytest.fixture
def bad_inputs(tmp_path, short_clip):
    """Name -> file that cannot be read as a video."""
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "text.mp4").write_text("this is a letter to a friend\n" * 50)
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(short_clip.read_bytes()[:600])
    (folder / "nothing").mkdir()
    return {name: folder / name for name in BAD_NAMES}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_input_is_one_line_and_the_others_are_done(
    bad_inputs, name, portrait_picture, tiny_clip_checkpoint, tmp_path, capsys
):
    out = tmp_path / "out"
    inputs = [str(bad_inputs[name]), str(portrait_picture)]
    assert main([*inputs, "--output-dir", str(out), "--checkpoint", str(tiny_clip_checkpoint)]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert str(bad_inputs[name]) in errors[0]
    assert {child.name for child in out.iterdir()} == {"both.json", *OF_SEVERAL}


def test_a_checkpoint_that_is_none(portrait_picture, tmp_path, capsys):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no weights here")
    out = tmp_path / "out"
    assert main([str(portrait_picture), "--checkpoint", str(wrong), "--output-dir", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(wrong) in line


def test_an_output_folder_that_cannot_be_made(portrait_picture, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(portrait_picture), "--output-dir", str(tmp_path / "file" / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--output-dir" in line


@pytest.mark.parametrize("arguments", [[], ["a.mp4", "--smooth", "median"], ["a.mp4", "--no-such-flag"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("tool", TOOLS)
def test_help_waits_for_nothing_heavy(root, tool):
    code = (
        f"import sys, runpy; sys.argv = ['{tool}.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path('tools/{tool}.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'torch', 'pandas', 'cv2', 'decord', 'av', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
