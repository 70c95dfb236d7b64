"""Training with landmarks and from ImageNet: points follow their picture, errors are one line."""

from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from emotemporal.checkpoint import load_checkpoint
from emotemporal.cli.train_frame import main as train_frame_command
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.errors import CheckpointError, UsageError
from emotemporal.models.mixed import MIRRORED
from emotemporal.models.specs import BackboneSpec
from emotemporal.pipeline import EmotionPipeline
from emotemporal.training import frame
from emotemporal.training.augmentation import augment_faces, augment_faces_with_landmarks
from emotemporal.training.config import AugmentationConfig, FrameConfig, OptimConfig, RunConfig
from emotemporal.training.evaluation import evaluate_frames
from emotemporal.training.frame import train_frame

GEOMETRY_ONLY = AugmentationConfig(gamma=0, degrade_probability=0, erase_probability=0)
POINTS = np.array([[15.5, 18.5], [32.5, 18.5], [24.5, 28.5], [17.5, 36.5], [31.5, 36.5]], np.float32)


def silent(line: str) -> None:
    """A run's lines, to nobody."""


def test_landmarks_move_with_their_picture():
    picture = np.zeros((48, 48), np.float32)
    for i, (x, y) in enumerate(POINTS.astype(int)):
        picture[y - 1 : y + 2, x - 1 : x + 2] = 50 * (i + 1)
    images = torch.from_numpy(picture).repeat(64, 1, 1)
    points = torch.from_numpy(POINTS).repeat(64, 1, 1)
    rng = torch.Generator().manual_seed(0)
    warped, moved = augment_faces_with_landmarks(images, points, GEOMETRY_ONLY, rng)
    torch.testing.assert_close(augment_faces(images, GEOMETRY_ONLY, torch.Generator().manual_seed(0)), warped)
    orders = []
    for image, places in zip(warped.numpy(), moved.numpy(), strict=True):
        column, row = places.astype(int).T
        # Points that were shifted out of the picture cannot be looked up.
        if not ((places > 2) & (places < 46)).all():
            continue
        shown = np.rint(image[row, column] / 50).astype(int) - 1
        orders.append(shown.tolist())
        assert places[0, 0] < places[1, 0]
        assert places[3, 0] < places[4, 0]
    # Each point is named by where it stands now: a mirrored face's left eye was its right one.
    assert len(orders) > 30
    plain, mirrored = orders.count([0, 1, 2, 3, 4]), orders.count(MIRRORED[5])
    assert plain + mirrored == len(orders)
    assert min(plain, mirrored) > 8


def test_faces_without_landmarks_stay_without():
    points = torch.full((2, 68, 2), torch.nan)
    _, moved = augment_faces_with_landmarks(torch.zeros(2, 48, 48), points, GEOMETRY_ONLY, torch.Generator())
    assert moved.isnan().all()


def make_config(data, folder, **changes) -> FrameConfig:
    settings = {
        "data": data,
        "backbone": BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.0, landmarks=5),
        "augmentation": GEOMETRY_ONLY,
        "optim": OptimConfig(epochs=1, batch_size=16, lr=0.05, ema_decay=0.5),
        "run": RunConfig(folder=folder, precision="32-true", accelerator="cpu"),
    }
    return FrameConfig(**(settings | changes))


def test_a_mixed_network_learns_from_landmarks(toy_fer2013, tmp_path, monkeypatch):
    """The pictures are blank: only the second branch can know; evaluation must give it the same points."""
    faces = read_fer2013(toy_fer2013)
    label_of = {image.tobytes(): int(label) for image, label in zip(faces.images, faces.labels, strict=True)}
    told = []

    def shaped_by_label(images, num_points, *, folder=None):
        told.append((num_points, folder))
        points = np.repeat(POINTS[None], len(images), axis=0)
        # Seven mouths, symmetrical ones: from pursed and high to wide and low.
        label = np.array([label_of[image.tobytes()] for image in images])
        points[:, 3, 0] -= label - 3
        points[:, 4, 0] += label - 3
        points[:, 3:, 1] += label[:, None] - 3
        return points

    monkeypatch.setattr(frame, "face_landmarks", shaped_by_label)
    monkeypatch.setattr("emotemporal.training.evaluation.face_landmarks", shaped_by_label)
    for name in ("training.frame", "models.torch_runners"):
        monkeypatch.setattr(
            f"emotemporal.{name}.normalise_crops", lambda crops: torch.zeros(len(crops), 1, 48, 48)
        )
    config = make_config(toy_fer2013, tmp_path, landmark_cache=tmp_path / "cache")
    augmentation = replace(GEOMETRY_ONLY, mixup_alpha=0.0, shear=0.0)
    optim = replace(config.optim, epochs=12, lr=0.05, optimizer="adamw")
    path = train_frame(replace(config, augmentation=augmentation, optim=optim), on_line=silent)
    assert set(told) == {(5, tmp_path / "cache")}
    checkpoint = load_checkpoint(path)
    assert checkpoint.header.backbone.landmarks == 5
    for flip in (False, True):
        found = evaluate_frames(checkpoint, faces.split("PublicTest"), flip=flip)
        assert found["accuracy"] > 0.6, flip


def test_landmarks_are_kept_in_the_run_folder(toy_fer2013, tmp_path):
    train_frame(make_config(toy_fer2013, tmp_path), on_line=silent)
    # Of the training and of the validation faces.
    assert len(list(tmp_path.glob("mtcnn5_*.npz"))) == 2
    # A resumed run finds them, and refuses another branch.
    assert train_frame(make_config(toy_fer2013, tmp_path), on_line=silent).is_file()
    with pytest.raises(UsageError, match=r"other backbone\.landmarks"):
        train_frame(
            make_config(
                toy_fer2013, tmp_path, backbone=BackboneSpec(widths=(8, 16), depths=(1, 1), dropout=0.0)
            )
        )


@pytest.fixture(scope="module")
def mixed_checkpoints(tmp_path_factory):
    """Untrained networks with 5 and 68 landmarks."""
    from emotemporal.checkpoint import CheckpointHeader, save_checkpoint
    from emotemporal.labels import FER7
    from emotemporal.models.backbone import build_backbone

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mixed")
    for num in (5, 68):
        spec = BackboneSpec(widths=(8, 16), depths=(1, 1), landmarks=num)
        header = CheckpointHeader(kind="frame", name="x", labels=FER7, backbone=spec, temperature=1.0)
        tensors = {f"backbone.{k}": v for k, v in build_backbone(spec).state_dict().items()}
        save_checkpoint(folder / f"{num}.safetensors", header, tensors)
    return folder


def test_videos_are_labelled_with_five_landmarks(mixed_checkpoints, root):
    astronaut = pytest.importorskip("skimage.data", reason="scikit-image brings the portrait").astronaut()
    import cv2

    picture = mixed_checkpoints / "face.png"
    cv2.imwrite(str(picture), astronaut[:, :, ::-1])
    pipeline = EmotionPipeline.load(mixed_checkpoints / "5.safetensors", device="cpu")
    given = []
    classify = pipeline.classifier.classify_crops
    pipeline.classifier.classify_crops = lambda crops, points: given.append(points) or classify(crops, points)
    analysis = pipeline.analyze(picture)
    assert len(analysis.tracks) == 1
    np.testing.assert_array_equal(given[0], analysis.tracks[0].landmarks)


def test_68_landmarks_are_refused_for_videos(mixed_checkpoints):
    with pytest.raises(CheckpointError, match="needs 68 landmarks") as caught:
        EmotionPipeline.load(mixed_checkpoints / "68.safetensors", device="cpu")
    assert "\n" not in str(caught.value)


def test_without_a_network_the_command_says_so(toy_fer2013, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    arguments = [
        "--data",
        str(toy_fer2013),
        "--run.folder",
        str(tmp_path / "run"),
        "--run.accelerator",
        "cpu",
    ]
    arguments += ["--backbone.name", "mobilenet_v3_small", "--pretrained", "true"]
    assert train_frame_command(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ImageNet weights of mobilenet_v3_small cannot be fetched")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--pretrained", "true"], "no ImageNet weights of seresnet"),
        (["--pretrained", "true", "--backbone.name", "resnet18", "--initial", "x"], "two starts"),
        (["--backbone.name", "resnet18", "--backbone.widths", "[8, 8]"], "has its own"),
    ],
)
def test_contradicting_settings_are_one_line(arguments, match, capsys):
    assert train_frame_command(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert match in line
