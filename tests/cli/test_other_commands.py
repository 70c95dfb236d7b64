"""Evaluation and training from the command line, on clips of nine frames."""

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from emotemporal.cli import COMMANDS
from emotemporal.cli import main as emotemporal
from emotemporal.cli.evaluate import main as evaluate
from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.cli.search_clip import main as search_clip
from emotemporal.cli.train_clip import main as train_clip
from emotemporal.cli.train_frame import main as train_frame
from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore
from emotemporal.labelling.aggregation import AGGREGATIONS


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


def test_evaluation_prints_a_table_and_writes_a_report(store, tiny_clip_checkpoint, tmp_path, capsys):
    folder = tmp_path / "new" / "report"
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store)]
    assert evaluate([*arguments, "--report", str(folder)]) == 0
    assert "accuracy" in capsys.readouterr().out
    pictures = {f"{what}_{name}.png" for what in ("confusion", "reliability") for name in AGGREGATIONS}
    assert {path.name for path in folder.iterdir()} == {
        "report.md",
        "report.json",
        "predictions.csv",
    } | pictures
    assert len((folder / "predictions.csv").read_text().splitlines()) == 3
    assert evaluate([*arguments, "--json"]) == 0
    assert json.loads((folder / "report.json").read_text()) == json.loads(capsys.readouterr().out)
    text = (folder / "report.md").read_text()
    assert text.startswith("# Evaluation of tiny\n")
    assert "| | head | sum | vote |" in text
    assert all(f"({name})" in text for name in pictures)


@pytest.fixture(scope="module")
def face_table(tmp_path_factory):
    """Fourteen faces of noise in FER2013's form."""
    rng = np.random.default_rng(0)
    rows = (" ".join(map(str, rng.integers(0, 256, 48 * 48))) for _ in range(14))
    path = tmp_path_factory.mktemp("faces") / "fer2013.csv"
    lines = [f"{i % 7},{pixels},PublicTest" for i, pixels in enumerate(rows)]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return path


def test_evaluation_reports_faces(face_table, tiny_frame_checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", str(tiny_frame_checkpoint), "--data", str(face_table)]
    arguments += ["--split", "PublicTest", "--json"]
    assert evaluate(arguments) == 0
    plain = json.loads(capsys.readouterr().out)
    folder = tmp_path / "report"
    assert evaluate([*arguments, "--report", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out) == plain == json.loads((folder / "report.json").read_text())
    assert "| | frames |" in (folder / "report.md").read_text()
    pictures = {path.name: cv2.imread(str(path)) for path in folder.glob("*.png")}
    assert set(pictures) == {"confusion.png", "reliability.png", "risk_coverage.png"}
    assert all(picture.std() > 10 for picture in pictures.values())


def test_a_report_that_cannot_be_written_is_one_line(face_table, tiny_frame_checkpoint, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--checkpoint", str(tiny_frame_checkpoint), "--data", str(face_table)]
    arguments += ["--split", "PublicTest", "--report", str(tmp_path / "file")]
    assert evaluate(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: cannot write")


def test_evaluation_by_a_named_split(store, manifest, tiny_clip_checkpoint, capsys):
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store)]
    assert evaluate([*arguments, "--protocol", "leave-one-subject-out"]) == 1
    # The two videos are copies of one another.
    assert "source videos on both sides" in capsys.readouterr().err
    rows = CropStore.open(store).read_index()
    own = [
        ClipItem(Path(r.path), r.clip_id, r.label, r.subject, ("train", "val")[i]) for i, r in enumerate(rows)
    ]
    CropStore.open(store).write_index(own)
    try:
        assert evaluate([*arguments, "--protocol", "leave-one-subject-out", "--json"]) == 0
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        assert document["protocol"] == "leave-one-subject-out"
        assert document["num_trained_on"] is None
        assert "training (unknown clips) is not listed" in printed.err
        by_fold = document["folds"]["head"]["accuracy"]
        assert set(by_fold) == {"ann", "bob"}
        assert document["folds"]["head"]["mean"] == pytest.approx(sum(by_fold.values()) / 2)
        assert document["head"]["accuracy"] == pytest.approx(sum(by_fold.values()) / 2)
        assert evaluate([*arguments, "--protocol", "train-validation", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["split"], document["num"]) == ("validation", 1)
        assert "folds" not in document
        assert evaluate([*arguments, "--protocol", "ravdess-5fold"]) == 1
        assert "1 to 24, found ann, bob" in capsys.readouterr().err
    finally:
        assert extract_faces([str(manifest), "--output", str(store)]) == 0


def test_training_from_a_file_and_flags(store, tiny_frame_checkpoint, tmp_path, capsys):
    config = tmp_path / "clip.yaml"
    config.write_text(
        f"store: {store}\nframe_checkpoint: {tiny_frame_checkpoint}\nprotocol: none\n"
        f"run:\n  folder: {tmp_path / 'run'}\n  accelerator: cpu\noptim:\n  epochs: 5\n  lr: 1e-3\n"
    )
    arguments = ["--config", str(config), "--optim.epochs", "2", "--optim.batch-size", "2", "--data-name=a-b"]
    assert train_clip(arguments) == 0
    assert (tmp_path / "run" / "best.safetensors").is_file()
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["optim"]["epochs"] == 2
    assert settings["optim"]["lr"] == 1e-3
    assert settings["optim"]["batch_size"] == 2
    assert settings["data_name"] == "a-b"
    capsys.readouterr()
    # What it was trained on is no fair measure, and it knows.
    arguments = ["--checkpoint", str(tmp_path / "run" / "best.safetensors"), "--data", str(store)]
    assert evaluate([*arguments, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["num_trained_on"] == 2
    assert "warning: 2 of the 2 clips are among those that the head was trained on" in printed.err


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
    "arguments",
    [
        ["--labels", "ferplus", "--protocol", "fer2013"],
        ["--protocol", "clips", "--flip"],
        ["--cross-validation", "runs/absent"],
    ],
)
def test_flags_that_contradict_each_other(tiny_clip_checkpoint, store, arguments, capsys):
    assert evaluate(["--checkpoint", str(tiny_clip_checkpoint), "--data", str(store), *arguments]) == 2
    assert "error: --" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--checkpoint", "some.safetensors"]])
def test_an_evaluation_of_nothing(arguments, capsys):
    assert evaluate(arguments) == 2
    assert "is missing; give --checkpoint and --data, or --cross-validation" in capsys.readouterr().err


def test_evaluation_of_cross_validations(store, tiny_frame_checkpoint, tmp_path, capsys):
    rows = CropStore.open(store).read_index()
    # The two videos are copies of one another: only here may they stand on both sides.
    apart = shutil.copytree(store, tmp_path / "store")
    videos = [tmp_path / name for name in ("one.mp4", "two.mp4")]
    own = [ClipItem(videos[i], r.clip_id, r.label, r.subject, source=str(i)) for i, r in enumerate(rows)]
    CropStore.open(apart).write_index(own)
    folders = [tmp_path / f"seed{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        arguments = ["--store", str(apart), "--frame-checkpoint", str(tiny_frame_checkpoint)]
        arguments += ["--optim.epochs", "1", "--optim.batch-size", "2", "--run.accelerator", "cpu"]
        assert train_clip([*arguments, "--run.folder", str(folder), "--run.seed", str(seed)]) == 0
    capsys.readouterr()
    documents = []
    for given in (folders[:1], folders[1:], folders):
        report = tmp_path / "report" / str(len(documents))
        arguments = ["--cross-validation", *map(str, given), "--json", "--report", str(report)]
        assert evaluate(arguments) == 0
        documents.append(json.loads(capsys.readouterr().out))
        found = {path.name for path in report.glob("predictions*.csv")}
        assert found == (
            {"predictions.csv"} if len(given) == 1 else {f"predictions_seed{i}.csv" for i in (0, 1)}
        )
    trained = json.loads((folders[0] / "report.json").read_text())["aggregations"]
    for name in AGGREGATIONS:
        ece = pytest.approx(trained[name]["ece"], abs=1e-5)
        assert documents[0][name] == trained[name] | {"ece": ece}
        alone = [document[name]["accuracy"] for document in documents[:2]]
        assert documents[2][name]["per_run"]["accuracy"] == alone
        assert documents[2][name]["accuracy"] == pytest.approx(np.mean(alone))
    assert [run["seed"] for run in documents[2]["runs"]] == [0, 1]
    assert documents[0]["protocol"] == "leave-one-subject-out"
    assert documents[0]["folds"]["head"]["mean"] == documents[0]["head"]["accuracy"]
    assert evaluate(["--cross-validation", str(folders[0])]) == 0
    assert "head: 2 folds" in capsys.readouterr().out


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


def test_a_shipped_search_is_one_of_settings(root, capsys):
    config = ["--config", str(root / "configs" / "search_java_sed.yaml")]
    assert search_clip([*config, "--store", "absent"]) == 1
    assert "absent: not a crop store" in capsys.readouterr().err
    assert search_clip([*config, "--search", "{head.widths: [3]}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "error: search.head.widths: there is no such setting; did you mean head.width?"


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
