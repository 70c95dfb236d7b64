"""Results in other label sets: every file and figure in the set that was asked for."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from emotemporal import EmotionPipeline
from emotemporal.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from emotemporal.cli.evaluate import main as evaluate
from emotemporal.cli.predict_clip import main as predict
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore, StoredClip
from emotemporal.errors import UsageError
from emotemporal.labelling.smoothing import smooth_probs
from emotemporal.labels import FER6, FER7, LABEL_SETS
from emotemporal.models.backbone import build_backbone
from emotemporal.models.specs import BackboneSpec
from emotemporal.report.palette import emotion_colour
from emotemporal.structures import CropGeometry, CropSequence


def run(video, checkpoint, out, *arguments):
    """Predict and return the JSON document and the table of frames with faces."""
    assert predict([str(video), "--checkpoint", str(checkpoint), "--output-dir", str(out), *arguments]) == 0
    table = pd.read_csv(out / f"{video.stem}.frames.csv")
    return json.loads((out / f"{video.stem}.json").read_text()), table[table.track_id.notna()]


@pytest.fixture(scope="module")
def own(short_clip, tiny_ferplus_checkpoint, tmp_path_factory):
    """The results in the checkpoint's own labels."""
    return run(short_clip, tiny_ferplus_checkpoint, tmp_path_factory.mktemp("own"), "--per-frame")


@pytest.mark.parametrize("label_set", LABEL_SETS)
def test_every_result_is_in_the_set(label_set, short_clip, tiny_ferplus_checkpoint, tmp_path):
    arguments = ("--per-frame", "--labels", label_set)
    document, table = run(short_clip, tiny_ferplus_checkpoint, tmp_path, *arguments)
    labels = list(LABEL_SETS[label_set])
    assert document["labels"] == labels
    assert document["settings"]["label_set"] == label_set
    assert len(document["people"]) > 0
    for person in document["people"]:
        assert set(person["clip"]) == {"sum", "vote"} | ({"head"} if label_set != "ferplus" else set())
        for result in person["clip"].values():
            assert list(result["probs"]) == labels
            assert sum(result["probs"].values()) == pytest.approx(1, abs=1e-4)
        assert sum(person["clip"]["vote"]["votes"].values()) == person["num_frames_seen"]
    columns = [name for name in table.columns if name[:2] in ("p_", "s_")]
    assert columns == [f"p_{name}" for name in labels] + [f"s_{name}" for name in labels]
    assert set(table.emotion) | set(table.smoothed_emotion) <= set(labels)
    for kind in "ps":
        np.testing.assert_allclose(table[[f"{kind}_{name}" for name in labels]].sum(axis=1), 1, atol=1e-4)


def test_fer6_is_the_sum_of_the_own_probabilities(own, short_clip, tiny_ferplus_checkpoint, tmp_path):
    arguments = ("--per-frame", "--labels", "fer6", "--smooth", "ema")
    document, table = run(short_clip, tiny_ferplus_checkpoint, tmp_path, *arguments)
    np.testing.assert_allclose(table.p_angry, own[1].p_angry + own[1].p_disgust, atol=3e-6)
    for name in FER6[1:]:
        np.testing.assert_allclose(table[f"p_{name}"], own[1][f"p_{name}"], atol=3e-6)
    for person, before in zip(document["people"], own[0]["people"], strict=True):
        for name in ("head", "sum"):
            probs, unmerged = person["clip"][name]["probs"], before["clip"][name]["probs"]
            assert probs["angry"] == pytest.approx(unmerged["angry"] + unmerged["disgust"], abs=1e-5)
            assert person["clip"][name]["emotion"] == max(probs, key=probs.get)
        seen = table[(table.track_id == person["track_id"]) & (table.status != "interpolated")]
        assert person["clip"]["vote"]["votes"]["angry"] == (seen.emotion == "angry").sum()


def test_smoothing_sees_the_merged_probabilities(short_clip, tiny_ferplus_checkpoint):
    pipeline = EmotionPipeline.load(tiny_ferplus_checkpoint, "cpu", labels="binary")
    raw, smoothed = (pipeline.analyze(short_clip, smooth=method) for method in ("none", "hmm"))
    assert len(raw.tracks) > 0
    for track, before, after in zip(raw.tracks, raw.timelines, smoothed.timelines, strict=True):
        expected = smooth_probs(before.smoothed_probs, track.pts_seconds, method="hmm", dwell_seconds=2.0)
        np.testing.assert_allclose(after.smoothed_probs, expected, atol=1e-6)


def test_the_own_set_by_name_changes_nothing(own, short_clip, tiny_ferplus_checkpoint, tmp_path):
    arguments = ("--per-frame", "--labels", "fer7")
    document, table = run(short_clip, tiny_ferplus_checkpoint, tmp_path, *arguments)
    assert document["people"] == own[0]["people"]
    assert own[0]["settings"]["label_set"] == "fer7"
    pd.testing.assert_frame_equal(table, own[1])


def test_ferplus_takes_the_second_classifier_with_its_temperature(
    portrait_picture, tiny_ferplus_checkpoint, tmp_path
):
    checkpoint = load_checkpoint(tiny_ferplus_checkpoint)
    flat_path = tmp_path / "flat.safetensors"
    save_checkpoint(flat_path, replace(checkpoint.header, temperatures={}), checkpoint.tensors)
    sharp, flat = (
        EmotionPipeline.load(path, "cpu", labels="ferplus").analyze(portrait_picture, smooth="none")
        for path in (tiny_ferplus_checkpoint, flat_path)
    )
    for one, other in zip(sharp.timelines, flat.timelines, strict=True):
        # Half the temperature squares the probabilities.
        squared = other.frame_probs**2
        np.testing.assert_allclose(one.frame_probs, squared / squared.sum(1, keepdims=True), atol=1e-5)


def test_ferplus_has_no_head_and_says_so_once(portrait_picture, tiny_ferplus_checkpoint, tmp_path, capsys):
    arguments = [str(portrait_picture), "--labels", "ferplus", "--output-dir", str(tmp_path)]
    arguments += ["--checkpoint", str(tiny_ferplus_checkpoint)]
    assert predict(arguments) == 0
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("warning: ")
    assert "sum and vote" in line
    assert json.loads((tmp_path / "both.json").read_text())["settings"]["aggregate"] == "sum"
    assert predict([*arguments, "--aggregate", "vote"]) == 0
    capsys.readouterr()
    assert predict([*arguments, "--aggregate", "head"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "error: --aggregate head: the head does not work on --labels ferplus, use sum or vote"


def test_a_checkpoint_without_that_classifier_is_one_line(
    portrait_picture, tiny_clip_checkpoint, tmp_path, capsys
):
    arguments = ["--labels", "ferplus", "--checkpoint", str(tiny_clip_checkpoint)]
    assert predict([str(portrait_picture), "--output-dir", str(tmp_path), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: --labels ferplus: {tiny_clip_checkpoint} has no classifier ferplus8")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_set(portrait_picture, tiny_clip_checkpoint, capsys):
    with pytest.raises(SystemExit) as caught:
        predict([str(portrait_picture), "--labels", "fer9"])
    assert caught.value.code == 2
    assert "--labels" in capsys.readouterr().err
    with pytest.raises(UsageError, match="expected one of fer7, fer6, ferplus, binary"):
        EmotionPipeline.load(tiny_clip_checkpoint, "cpu", labels="fer9")


@pytest.fixture(scope="module")
def six_checkpoint(tmp_path_factory):
    """A frame network that learnt `fer6`."""
    spec = BackboneSpec(widths=(8, 16), depths=(1, 1), label_sets={"fer6": FER6})
    header = CheckpointHeader(kind="frame", name="six", labels=FER6, backbone=spec, temperature=1.0)
    path = tmp_path_factory.mktemp("six") / "six.safetensors"
    tensors = {f"backbone.{k}": v for k, v in build_backbone(spec).state_dict().items()}
    save_checkpoint(path, header, tensors)
    return path


def test_what_was_learnt_merged_cannot_be_taken_apart(portrait_picture, six_checkpoint, tmp_path, capsys):
    arguments = [str(portrait_picture), "--checkpoint", str(six_checkpoint)]
    arguments += ["--output-dir", str(tmp_path / "out")]
    assert predict([*arguments, "--labels", "fer7"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "disgust cannot be told" in line
    assert predict([*arguments, "--labels", "binary"]) == 0
    assert predict(arguments) == 0
    document = json.loads((tmp_path / "out" / "both.json").read_text())
    assert document["labels"] == list(FER6)
    assert document["settings"]["label_set"] == "fer6"


def test_the_overlay_has_the_colours_of_the_set(portrait_picture, tiny_ferplus_checkpoint, tmp_path):
    arguments = ("--per-frame", "--overlay", "--labels", "binary")
    _, table = run(portrait_picture, tiny_ferplus_checkpoint, tmp_path, *arguments)
    drawn = cv2.imread(str(tmp_path / "both.overlay.png"))[:, :, ::-1]
    shown = {name for name in FER7 if (drawn == emotion_colour(name)).all(2).sum() > 200}
    assert shown == set(table.smoothed_emotion)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Clips of happy, fear and disgust, and one of calm, which FER2013 does not have."""
    rng = np.random.default_rng(0)
    store = CropStore.create(tmp_path_factory.mktemp("store"), CropGeometry(), {})
    items = []
    for name in ("happy", "fear", "disgust", "calm"):
        crops = rng.integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
        items.append(ClipItem(store.folder / f"{name}.mp4", name, name))
        items[-1].path.touch()
        store.write(items[-1], StoredClip(5, 1, CropSequence(1, np.arange(5), np.arange(5) / 25, crops)))
    store.write_index(items)
    return store.folder


@pytest.mark.parametrize(
    ("label_set", "num", "left_out"), [("fer7", 3, 1), ("fer2013", 3, 1), ("fer6", 3, 1), ("binary", 1, 3)]
)
def test_clips_are_measured_in_the_set(
    store, tiny_ferplus_checkpoint, tmp_path, capsys, label_set, num, left_out
):
    arguments = ["--checkpoint", str(tiny_ferplus_checkpoint), "--data", str(store), "--labels", label_set]
    assert evaluate([*arguments, "--json", "--report", str(tmp_path / "report")]) == 0
    document = json.loads(capsys.readouterr().out)
    label_set = "fer7" if label_set == "fer2013" else label_set
    assert (document["num"], document["num_left_out"]) == (num, left_out)
    assert document["label_set"] == label_set
    assert document["labels"] == list(LABEL_SETS[label_set])
    truth = {"fer7": ["disgust", "fear", "happy"], "fer6": ["angry", "fear", "happy"], "binary": ["happy"]}
    table = pd.read_csv(tmp_path / "report" / "predictions.csv")
    assert sorted(table.label) == sorted(truth[label_set])
    for name in ("head", "sum", "vote"):
        assert document[name]["num"] == num
        assert document[name]["accuracy"] == pytest.approx((table[name] == table.label).mean())
        probs = table[[f"{name}_{emotion}" for emotion in LABEL_SETS[label_set]]]
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-4)
    assert evaluate(arguments) == 0
    assert f"{num} items · {left_out} left out" in capsys.readouterr().out


def test_clips_of_unknown_emotions_are_left_out_only_when_asked(store, tiny_clip_checkpoint, capsys):
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store)]
    assert evaluate(arguments) == 1
    assert "shows 'calm'" in capsys.readouterr().err
    assert evaluate([*arguments, "--labels", "ferplus"]) == 2
    assert "--labels ferplus does not go with --protocol clips" in capsys.readouterr().err


def test_a_network_that_learnt_six_takes_disgust_for_angry(store, six_checkpoint, capsys):
    arguments = ["--checkpoint", str(six_checkpoint), "--data", str(store), "--labels", "fer6", "--json"]
    assert evaluate(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["num"], document["num_left_out"]) == (3, 1)
    assert np.sum(document["sum"]["confusion"], axis=1).tolist() == [1, 1, 1, 0, 0, 0]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """FER2013 with two test faces of each emotion, and FER+ votes that agree on all but one of them."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("fer")
    order = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    columns = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    table = ["emotion,pixels,Usage"]
    votes = [",".join(["Usage", "Image name", *columns, "unknown", "NF"])]
    for i in range(14):
        table.append(f"{i % 7},{' '.join(map(str, rng.integers(0, 256, 48 * 48)))},PrivateTest")
        counts = [10 if name == order[i % 7] else 0 for name in columns]
        if i == 0:
            counts = [5, 5, 0, 0, 0, 0, 0, 0]
        votes.append(",".join(["PrivateTest", "", *map(str, counts), "0", "0"]))
    (folder / "fer2013.csv").write_text("\n".join(table) + "\n")
    (folder / "fer2013new.csv").write_text("\n".join(votes) + "\n")
    return folder / "fer2013.csv"


@pytest.mark.parametrize(
    ("arguments", "protocol", "label_set", "support", "left_out"),
    [
        ([], "fer2013", "fer7", [2] * 7, 0),
        (["--labels", "fer2013"], "fer2013", "fer7", [2] * 7, 0),
        (["--labels", "fer6"], "fer2013", "fer6", [4, 2, 2, 2, 2, 2], 0),
        (["--labels", "binary"], "fer2013", "binary", [2, 2], 10),
        (["--labels", "ferplus"], "ferplus", "ferplus", [2, 2, 2, 2, 1, 2, 2, 0], 1),
        (["--protocol", "ferplus"], "ferplus", "ferplus", [2, 2, 2, 2, 1, 2, 2, 0], 1),
    ],
)
def test_faces_are_measured_in_the_set(
    faces, tiny_ferplus_checkpoint, capsys, arguments, protocol, label_set, support, left_out
):
    command = ["--checkpoint", str(tiny_ferplus_checkpoint), "--data", str(faces), *arguments]
    assert evaluate([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["protocol"], document["label_set"]) == (protocol, label_set)
    assert document["labels"] == list(LABEL_SETS[label_set])
    assert np.sum(document["confusion"], axis=1).tolist() == support
    assert (document["num"], document["num_left_out"]) == (sum(support), left_out)


def test_faces_in_a_set_that_the_network_lacks(faces, tiny_clip_checkpoint, capsys):
    command = ["--checkpoint", str(tiny_clip_checkpoint), "--data", str(faces), "--labels", "ferplus"]
    assert evaluate(command) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "has no classifier ferplus8" in line


@pytest.mark.parametrize("labels", ["fer2013", "fer6", "binary"])
def test_another_truth_than_the_protocol_is_refused(faces, tiny_ferplus_checkpoint, labels, capsys):
    command = ["--checkpoint", str(tiny_ferplus_checkpoint), "--data", str(faces)]
    assert evaluate([*command, "--protocol", "ferplus", "--labels", labels]) == 2
    assert f"--labels {labels} does not go with --protocol ferplus" in capsys.readouterr().err
