"""Labels by landmarks on the command line, and the shipped weights on real clips."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import load_checkpoint, load_geometry_checkpoint, save_checkpoint
from emotemporal.cli.predict_clip import main
from emotemporal.datasets.ravdess_landmarks import EMOTIONS
from emotemporal.faces import landmarks
from emotemporal.faces.geometry import TEMPLATE
from emotemporal.geometry import MIN_BASELINE_CLIPS, GeometryReader
from emotemporal.models.temporal import TemporalHead
from emotemporal.pipeline import EmotionPipeline


@pytest.fixture
def run(tiny_clip_checkpoint, tmp_path, capsys):
    """Run the command; return its exit code, stdout and lines of stderr."""

    def call(*arguments):
        out = ["--output-dir", str(tmp_path / "out"), "--checkpoint", str(tiny_clip_checkpoint)]
        code = main([*map(str, arguments), *out])
        printed = capsys.readouterr()
        return code, printed.out, printed.err.strip().splitlines()

    return call


@pytest.mark.usefixtures("stub_landmarks")
def test_every_person_is_labelled_beside_what_was_there(run, short_clip, tiny_geometry_checkpoint):
    code, without, _ = run(short_clip, "--json")
    assert code == 0
    code, printed, errors = run(short_clip, "--json", "--geometry", tiny_geometry_checkpoint)
    assert code == 0
    assert errors == ["licence of --geometry: not to sell"]
    document = json.loads(printed)
    assert len(document["people"]) == 3
    for person in document["people"]:
        found = person.pop("geometry")
        assert found["labels"] == list(EMOTIONS)
        assert list(found["probs"]) == found["labels"]
        assert sum(found["probs"].values()) == pytest.approx(1)
        assert found["emotion"] == max(found["probs"], key=found["probs"].get)
        assert found["licence"] == "not to sell"
        assert found["baseline"] is False
    identity = document["settings"].pop("geometry")
    assert identity == load_geometry_checkpoint(tiny_geometry_checkpoint).identity()
    assert document == json.loads(without)


@pytest.mark.usefixtures("stub_landmarks")
def test_the_table_has_a_column_of_its_own(run, short_clip, tiny_geometry_checkpoint):
    assert "geometry" not in run(short_clip)[1]
    printed = run(short_clip, "--geometry", tiny_geometry_checkpoint)[1]
    _, heading, first, *_ = printed.splitlines()
    assert heading.split()[-1] == "geometry"
    assert first.split()[-2] in EMOTIONS


@pytest.mark.usefixtures("stub_landmarks")
def test_a_baseline_is_of_the_most_prominent_person(
    run, short_clip, portrait_picture, tiny_geometry_checkpoint
):
    arguments = [short_clip, "--json", "--geometry", tiny_geometry_checkpoint]
    plain = json.loads(run(*arguments)[1])["people"]
    code, printed, _ = run(*arguments, "--baseline", *[portrait_picture] * MIN_BASELINE_CLIPS)
    assert code == 0
    people = json.loads(printed)["people"]
    told = [person["geometry"]["baseline"] for person in people]
    assert sum(told) == 1
    for person, without, baseline in zip(people, plain, told, strict=True):
        assert (person["geometry"]["probs"] != without["geometry"]["probs"]) == baseline


def test_every_seen_face_is_looked_at_once(short_clip, tiny_clip_checkpoint, tiny_geometry_checkpoint):
    seen = []

    class Recorder:
        def predict(self, image, boxes):
            assert image.dtype == np.uint8
            seen.extend(boxes)
            return np.random.default_rng(len(seen)).uniform(0, 100, (len(boxes), 68, 2)).astype(np.float32)

    reader = GeometryReader(load_geometry_checkpoint(tiny_geometry_checkpoint), predictor=Recorder())
    analysis = reader.analyze(EmotionPipeline(load_checkpoint(tiny_clip_checkpoint)), short_clip)
    expected = np.concatenate([track.boxes[track.seen] for track in analysis.tracks])
    assert sorted(map(tuple, seen)) == sorted(map(tuple, expected))


def test_without_the_flag_nothing_of_it_is_imported(portrait_picture, tiny_clip_checkpoint, tmp_path):
    code = (
        "import sys\n"
        "from emotemporal.cli.predict_clip import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "rooms = {f'emotemporal.{room}' for room in ('geometry', 'models.pooled', 'faces.landmarks')}\n"
        "found = (rooms | {'dlib'}) & set(sys.modules)\n"
        "sys.exit(f'imports {found}' if found else 0)"
    )
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--output-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, str(portrait_picture), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("stub_landmarks")
@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        (["{picture}"], "1 clip of about 4 seconds, expected at least 3"),
        (["absent.mp4"], "absent.mp4"),
        (["{root}/docs/frame_confusion.png"] * 3, "shows no face"),
    ],
)
def test_a_baseline_that_is_none(run, root, portrait_picture, tiny_geometry_checkpoint, baseline, reason):
    names = [name.format(picture=portrait_picture, root=root) for name in baseline]
    code, out, errors = run(portrait_picture, "--geometry", tiny_geometry_checkpoint, "--baseline", *names)
    assert (code, out) == (2, "")
    assert errors[1].startswith("error: ")
    assert reason in errors[1]
    assert len(errors) == 2


def test_a_baseline_without_what_it_is_for(run, short_clip):
    assert run(short_clip, "--baseline", short_clip)[::2] == (
        2,
        ["error: --baseline is for labels by landmarks; give --geometry FILE as well"],
    )


@pytest.mark.usefixtures("stub_landmarks")
def test_the_wrong_kind(run, short_clip, tiny_clip_checkpoint, tiny_geometry_checkpoint, capsys):
    code, _, (line,) = run(short_clip, "--geometry", tiny_clip_checkpoint)
    assert code == 2
    assert line == f"error: --geometry: {tiny_clip_checkpoint}: a clip checkpoint, expected a geometry one"
    assert main([str(short_clip), "--checkpoint", str(tiny_geometry_checkpoint)]) == 2
    assert "a geometry checkpoint, expected a frame or clip one" in capsys.readouterr().err


def test_a_missing_extra_is_one_line(run, short_clip, tiny_geometry_checkpoint, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None if name == "dlib" else find(name))
    code, out, (line,) = run(short_clip, "--geometry", tiny_geometry_checkpoint)
    assert (code, out) == (2, "")
    assert "pip install 'emotemporal[landmarks]'" in line


@pytest.mark.needs_data
def test_the_shipped_weights_on_videos_of_ravdess(root, data_folder, tiny_frame_checkpoint):
    """Actor 1 was trained on: this checks the way from pixels to labels and is no measurement."""
    pytest.importorskip("dlib")
    reader = GeometryReader.load(root / "checkpoints" / "geometry_ravdess.safetensors")
    pipeline = EmotionPipeline(load_checkpoint(tiny_frame_checkpoint))
    right = 0
    clips = sorted((data_folder / "ravdess_actor01" / "Actor_01").glob("*.mp4"))
    assert len(clips) == 5
    for clip in clips:
        (timeline,) = reader.analyze(pipeline, clip).timelines
        right += timeline.geometry.emotion == EMOTIONS[int(clip.name.split("-")[2]) - 1]
    assert right >= 4


@pytest.fixture(scope="session")
def geometry_head_checkpoint(tiny_clip_checkpoint, tmp_path_factory) -> Path:
    """The tiny networks with a head of both streams."""
    torch.manual_seed(0)
    frame = load_checkpoint(tiny_clip_checkpoint)
    spec = replace(frame.header.head, streams="both")
    head = TemporalHead(spec, embedding_dim=16, num_classes=7, trained_classes=range(7))
    torch.nn.init.normal_(head.clip_correction.weight)
    head.motion_range = torch.tensor([0.0, 1e-9])
    tensors = {name: value for name, value in frame.tensors.items() if name.startswith("backbone.")}
    tensors |= {f"head.{name}": value for name, value in head.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "both.safetensors"
    save_checkpoint(path, replace(frame.header, head=spec, licence="not to sell"), tensors)
    return path


def test_a_head_that_sees_landmarks_gets_them(
    geometry_head_checkpoint, short_clip, tmp_path, capsys, monkeypatch
):
    def probs(mouth):
        """Of everybody's clip, where all faces are the template with a mouth of another width."""

        class Predictor:
            def predict(self, image, boxes):
                face = TEMPLATE * np.where(np.arange(68)[:, None] < 48, (1, 1), (mouth, 1))
                return np.stack([40 * face + box[:2] for box in boxes]).astype(np.float32)

        monkeypatch.setattr(landmarks, "LandmarkPredictor", Predictor)
        arguments = ["--checkpoint", str(geometry_head_checkpoint), "--output-dir", str(tmp_path), "--json"]
        assert main([str(short_clip), *arguments]) == 0
        printed = capsys.readouterr()
        assert printed.err.strip() == "licence of --checkpoint: not to sell"
        return [person["clip"]["head"]["probs"] for person in json.loads(printed.out)["people"]]

    usual = probs(1.0)
    assert len(usual) == 3
    assert usual == probs(1.0)
    assert usual != probs(1.5)


def test_a_head_without_its_landmarks_is_one_line(geometry_head_checkpoint, short_clip, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None if name == "dlib" else find(name))
    assert main([str(short_clip), "--checkpoint", str(geometry_head_checkpoint)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {geometry_head_checkpoint}: its head sees geometry; 68 landmarks need")
    assert "pip install 'emotemporal[landmarks]'" in line
