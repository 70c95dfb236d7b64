"""Extraction, evaluation and training from the command line, on clips of nine frames."""

import json

import av
import cv2
import numpy as np
import pytest

from emotemporal.cli import COMMANDS
from emotemporal.cli import main as emotemporal
from emotemporal.cli.evaluate import main as evaluate
from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.cli.train_clip import main as train_clip
from emotemporal.cli.train_frame import main as train_frame


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, short_clip):
    path = tmp_path_factory.mktemp("videos") / "manifest.csv"
    target = path.parent / "other.mp4"
    target.write_bytes(short_clip.read_bytes())
    path.write_text(f"path,label,subject\n{short_clip},happy,ann\n{target.name},neutral,bob\n")
    return path


@pytest.fixture(scope="module")
def store(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    assert extract_faces([str(manifest), "--output", str(folder)]) == 0
    return folder


def test_extraction_goes_on_where_it_stopped(manifest, store, capsys):
    clips = sorted((store / "clips").iterdir())
    assert len(clips) == 2
    clips[0].unlink()
    kept = clips[1].stat().st_mtime_ns
    assert extract_faces([str(manifest), "--output", str(store)]) == 0
    printed = capsys.readouterr()
    assert "1 of 2 clips are in the store already" in printed.err
    assert "2 clips, 18 frames" in printed.out
    assert sorted((store / "clips").iterdir()) == clips
    assert clips[1].stat().st_mtime_ns == kept


def test_an_unreadable_video_is_named_and_the_others_are_kept(short_clip, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("no video")
    (tmp_path / "manifest.csv").write_text(f"path,label\n{short_clip},happy\nbad.mp4,sad\n")
    assert extract_faces([str(tmp_path), "--output", str(tmp_path / "store")]) == 1
    printed = capsys.readouterr()
    assert "bad.mp4" in printed.err
    assert "1 clips" in printed.out


def test_evaluation_of_videos_and_of_their_store_agree(manifest, store, tiny_clip_checkpoint, capsys):
    documents = []
    for data in (manifest, store):
        assert evaluate(["--checkpoint", str(tiny_clip_checkpoint), "--data", str(data), "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0]["protocol"] == "clips"
    for name in ("head", "sum", "vote"):
        assert documents[0][name] == documents[1][name]
        assert {"accuracy", "uar", "macro_f1", "ece", "per_class_recall", "confusion"} <= set(
            documents[0][name]
        )


def test_evaluation_prints_a_table(store, tiny_clip_checkpoint, tmp_path, capsys):
    path = tmp_path / "predictions.csv"
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store), "--predictions", str(path)]
    assert evaluate(arguments) == 0
    assert "accuracy" in capsys.readouterr().out
    assert len(path.read_text().splitlines()) == 3


def test_evaluation_draws_clips(store, tiny_clip_checkpoint, tmp_path, capsys):
    folder = tmp_path / "figures"
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store), "--figures", str(folder)]
    assert evaluate(arguments) == 0
    assert {path.name for path in folder.iterdir()} == {
        f"confusion_{name}.png" for name in ("head", "sum", "vote")
    }


@pytest.fixture(scope="module")
def face_table(tmp_path_factory):
    """Fourteen faces of noise in FER2013's form."""
    rng = np.random.default_rng(0)
    rows = (" ".join(map(str, rng.integers(0, 256, 48 * 48))) for _ in range(14))
    path = tmp_path_factory.mktemp("faces") / "fer2013.csv"
    lines = [f"{i % 7},{pixels},PublicTest" for i, pixels in enumerate(rows)]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return path


def test_evaluation_draws_faces(face_table, tiny_frame_checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", str(tiny_frame_checkpoint), "--data", str(face_table)]
    arguments += ["--split", "PublicTest", "--json"]
    assert evaluate(arguments) == 0
    plain = json.loads(capsys.readouterr().out)
    folder = tmp_path / "figures"
    assert evaluate([*arguments, "--figures", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out) == plain
    pictures = {path.name: cv2.imread(str(path)) for path in folder.iterdir()}
    assert set(pictures) == {"confusion.png", "reliability.png", "risk_coverage.png"}
    assert all(picture.std() > 10 for picture in pictures.values())


def test_figures_that_cannot_be_written_are_one_line(face_table, tiny_frame_checkpoint, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--checkpoint", str(tiny_frame_checkpoint), "--data", str(face_table)]
    arguments += ["--split", "PublicTest", "--figures", str(tmp_path / "file")]
    assert evaluate(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: cannot write")


def test_training_from_a_file_and_flags(store, tiny_frame_checkpoint, tmp_path, capsys):
    config = tmp_path / "clip.yaml"
    config.write_text(
        f"store: {store}\nframe_checkpoint: {tiny_frame_checkpoint}\nprotocol: none\n"
        f"run:\n  folder: {tmp_path / 'run'}\n  accelerator: cpu\noptim:\n  epochs: 5\n  lr: 1e-3\n"
    )
    arguments = ["--config", str(config), "--optim.epochs", "2", "--optim.batch_size", "2"]
    assert train_clip(arguments) == 0
    assert (tmp_path / "run" / "best.safetensors").is_file()
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["optim"]["epochs"] == 2
    assert settings["optim"]["lr"] == 1e-3


@pytest.mark.parametrize("command", [train_frame, train_clip])
@pytest.mark.parametrize(
    "arguments", [["--optim.epochs", "many"], ["--optim.epoch", "3"], ["--config", "absent.yaml"]]
)
def test_faulty_settings_name_the_flag(command, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    assert caught.value.code == 2
    assert arguments[0].strip("-").split(".")[-1] in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--optim.lr=-1"], ["--head.kind", "transformer", "--head.width", "10"]]
)
def test_impossible_settings_are_one_line(arguments, capsys):
    assert train_clip(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize(
    "arguments", [["--labels", "ferplus", "--protocol", "fer2013"], ["--protocol", "clips", "--flip"]]
)
def test_flags_that_contradict_each_other(tiny_clip_checkpoint, store, arguments, capsys):
    assert evaluate(["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store), *arguments]) == 2
    assert "error: --" in capsys.readouterr().err


def test_a_clip_without_a_face_is_an_error_in_every_accuracy(tiny_clip_checkpoint, tmp_path, capsys):
    black = tmp_path / "black.mp4"
    with av.open(str(black), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(3):
            picture = np.zeros((64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "manifest.csv").write_text("path,label\nblack.mp4,happy\n")
    assert evaluate(["--checkpoint", str(tiny_clip_checkpoint), "--data", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    for name in ("head", "sum", "vote"):
        assert document[name]["accuracy"] == 0
        assert document[name]["num_without_prediction"] == 1


def test_missing_data_is_one_line(tmp_path, capsys):
    assert train_frame(["--data", str(tmp_path / "no.csv"), "--run.folder", str(tmp_path / "run")]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")


def test_the_command_table(capsys):
    assert emotemporal(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert emotemporal(["predict"]) == 2
    assert "unknown command 'predict'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["frame_fer2013", "frame_fer2013_polish", "frame_resnet18_imagenet", "clip_java_sed", "clip"]
)
def test_shipped_configs_load(root, name, capsys):
    command = train_frame if name.startswith("frame") else train_clip
    with pytest.raises(SystemExit) as caught:
        command(["--config", str(root / "configs" / f"{name}.yaml"), "--print_config"])
    assert caught.value.code == 0
    assert "epochs:" in capsys.readouterr().out
