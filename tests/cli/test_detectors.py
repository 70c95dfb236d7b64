"""Detectors other than MTCNN: OpenCV's networks, made here, from their files to every command."""

import json
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from opencv_networks import FACE_AWAY_PX, FACE_PX, POINTS, SIDE_PX, write_ssd, yunet_bytes

from emotemporal.batch.jobs import Request
from emotemporal.cli import app
from emotemporal.cli.evaluate import main as evaluate
from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.cli.live import main as live
from emotemporal.cli.predict_clip import main as predict_clip
from emotemporal.datasets.crops import CropStore
from emotemporal.errors import UsageError
from emotemporal.faces.choice import DetectorChoice
from emotemporal.faces.detector import MtcnnDetector, RefinedDetector
from emotemporal.faces.opencv_detectors import SsdFinder, YunetFinder
from emotemporal.pipeline import EmotionPipeline
from emotemporal.structures import Detections


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, str]:
    """What `--detector` is given, by name."""
    folder = tmp_path_factory.mktemp("networks of others")
    (folder / "yunet.onnx").write_bytes(yunet_bytes())
    return {"mtcnn": "mtcnn", "yunet": f"yunet:{folder / 'yunet.onnx'}", "ssd": write_ssd(folder)}


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """uint8 (150, 150, 3): a face of about 44 x 58 pixels with its middle at (72, 58)."""
    data = pytest.importorskip("skimage.data", reason="scikit-image brings the portrait")
    return cv2.resize(data.astronaut()[:300, 80:380], (150, 150), interpolation=cv2.INTER_AREA)


def draw_frame(portrait: np.ndarray, left: int = 100, *, hidden: bool = False) -> np.ndarray:
    """uint8 (240, 320, 3): the portrait, and the square that its face lies 90 pixels right of, 30 below."""
    frame = np.full((240, 320, 3), 90, np.uint8)
    if not hidden:
        frame[40:190, left : left + 150] = portrait
    frame[56 : 56 + SIDE_PX, left - 30 : left - 30 + SIDE_PX] = (0, 0, 255)
    return frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory, portrait) -> Path:
    """A portrait that moves by two pixels a frame, for 14 frames."""
    path = tmp_path_factory.mktemp("clip") / "moving.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(14):
            frame = draw_frame(portrait, 60 + 2 * i)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    size = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(min=0)
    areas = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
    return float(size.prod() / (areas - size.prod()))


def yunet_finder(networks) -> YunetFinder:
    return YunetFinder(networks["yunet"].removeprefix("yunet:"))


def ssd_finder(networks) -> SsdFinder:
    return SsdFinder(*networks["ssd"].removeprefix("ssd:").split(","))


@pytest.mark.parametrize("scale", [1, 4])
def test_what_yunet_says_is_read_in_pixels_of_the_frame(networks, scale):
    # One cell of the network, the whole of it, at a reduced size where the frame is a large one.
    frame = np.zeros((240 * scale, 320 * scale, 3), np.uint8)
    cell = 8 * max(1, scale // 2)
    frame[5 * cell : 6 * cell, 3 * cell : 4 * cell] = (0, 0, 255)
    found = yunet_finder(networks).detect_faces(frame)
    zoom = cell / 8
    middle = (np.array([28, 44]) + FACE_AWAY_PX) * zoom
    half = np.array(FACE_PX) * zoom / 2
    np.testing.assert_allclose(found.boxes, [[*(middle - half), *(middle + half)]], atol=0.01)
    np.testing.assert_allclose(found.landmarks[0], middle + POINTS * FACE_PX * zoom, atol=0.01)
    # The network gave 1 / (1 + exp(-6)) twice.
    np.testing.assert_allclose(found.scores, [0.99753], atol=1e-4)
    frame[...] = np.flip(frame, axis=2)
    assert len(yunet_finder(networks).detect_faces(frame)) == 0


def test_what_an_ssd_says_is_read_in_pixels_of_the_frame(networks):
    frame = np.zeros((240, 320, 3), np.uint8)
    # Its cells are 10 of 300 pixels: this covers the eighth from the left and the ninth from above.
    frame[64:72, 74:86] = (0, 0, 255)
    found = ssd_finder(networks).detect_faces(frame)
    assert len(found) == 1
    middle = np.array([75 / 300 * 320, 85 / 300 * 240]) + FACE_AWAY_PX
    half = np.array(FACE_PX) / 2
    np.testing.assert_allclose(found.boxes, [[*(middle - half), *(middle + half)]], atol=0.1)
    assert np.isnan(found.landmarks).all()
    assert found.scores[0] > 0.9
    assert len(ssd_finder(networks).detect_faces(np.ascontiguousarray(frame[..., ::-1]))) == 0


@pytest.mark.parametrize("name", ["yunet", "ssd"])
def test_boxes_and_landmarks_are_those_of_mtcnn(networks, portrait, name):
    mtcnn = MtcnnDetector()
    frame = draw_frame(portrait)
    expected = mtcnn.detect_faces(frame)
    finder = yunet_finder(networks) if name == "yunet" else ssd_finder(networks)
    found = RefinedDetector(finder, mtcnn).detect_faces(frame)
    assert len(found) == len(expected) == 1
    assert overlap(found.boxes[0], expected.boxes[0]) > 0.75
    away = np.abs(found.landmarks - expected.landmarks).max() / FACE_PX[0]
    assert away < 0.1
    assert found.scores[0] == pytest.approx(expected.scores[0], abs=0.01)


def test_where_the_refinement_sees_no_face_the_own_landmarks_decide(networks, portrait):
    mtcnn = MtcnnDetector()
    frame = draw_frame(portrait, hidden=True)
    assert len(ssd_finder(networks).detect_faces(frame)) == 1
    assert len(RefinedDetector(ssd_finder(networks), mtcnn).detect_faces(frame)) == 0
    own = yunet_finder(networks).detect_faces(frame)
    found = RefinedDetector(yunet_finder(networks), mtcnn).detect_faces(frame)
    np.testing.assert_array_equal(found.boxes, own.boxes)
    np.testing.assert_array_equal(found.landmarks, own.landmarks)
    np.testing.assert_array_equal(found.scores, own.scores)
    frame[...] = 0
    assert len(RefinedDetector(yunet_finder(networks), mtcnn).detect_faces(frame)) == 0


def test_two_boxes_of_one_face_become_one(portrait):
    class Twice:
        def detect_faces(self, frame: np.ndarray) -> Detections:
            boxes = np.array([[145, 64, 190, 125], [155, 75, 200, 135]], np.float32)
            return Detections(boxes, np.full(2, 0.8, np.float32), np.full((2, 5, 2), np.nan, np.float32))

    detector = RefinedDetector(Twice(), MtcnnDetector())
    found = detector.detect_faces(draw_frame(portrait))
    assert len(found) == 1
    assert found.scores[0] > 0.95
    assert detector.identity == "Twice"


def read_people(folder: Path) -> tuple[dict, pd.DataFrame]:
    document = json.loads((folder / "moving.json").read_text())
    return document, pd.read_csv(folder / "moving.frames.csv")


def test_predict_clip_finds_the_same_face_with_every_detector(
    networks, clip, tiny_clip_checkpoint, tmp_path, capsys
):
    boxes = {}
    for name, text in networks.items():
        arguments = [str(clip), "--per-frame", "--quiet", "--backend", "torch", "--detector", text]
        arguments += ["--checkpoint", str(tiny_clip_checkpoint), "--output-dir", str(tmp_path / name)]
        assert predict_clip(arguments) == 0
        document, table = read_people(tmp_path / name)
        assert document["settings"]["detector"] == DetectorChoice.parse(text).identity()
        assert len(document["people"]) == 1
        assert table.frame_index.tolist() == list(range(14))
        boxes[name] = table[["x1", "y1", "x2", "y2"]].to_numpy()
    assert capsys.readouterr().err == ""
    for name in ("yunet", "ssd"):
        shares = [overlap(a, b) for a, b in zip(boxes[name], boxes["mtcnn"], strict=True)]
        assert min(shares) > 0.75


def test_the_identity_is_of_the_contents(networks, tmp_path):
    weights, graph = networks["ssd"].removeprefix("ssd:").split(",")
    (tmp_path / "a,b.pb").write_bytes(Path(weights).read_bytes())
    (tmp_path / "c.pbtxt").write_bytes(Path(graph).read_bytes())
    identity = DetectorChoice.parse(networks["ssd"]).identity()
    # Under other names, and in the other order.
    for files in ("a,b.pb,{0}/c.pbtxt", "c.pbtxt,{0}/a,b.pb"):
        text = f"ssd:{tmp_path}/{files.format(tmp_path)}"
        if files.startswith("a"):
            assert DetectorChoice.parse(text).identity() == identity
    assert DetectorChoice.parse("mtcnn").identity() == "mtcnn"
    request = Request(detector=networks["ssd"])
    same = replace(request, detector=f"ssd:{tmp_path}/a,b.pb,{tmp_path}/c.pbtxt")
    assert same.fingerprint() == request.fingerprint()
    with (tmp_path / "c.pbtxt").open("a") as stream:
        stream.write("\n")
    assert same.fingerprint() != request.fingerprint() != Request().fingerprint()


def test_another_process_makes_the_detector_that_was_chosen(networks, portrait):
    make = pickle.loads(pickle.dumps(partial(DetectorChoice.parse(networks["yunet"]).make, "cpu", "torch")))
    assert len(make().detect_faces(draw_frame(portrait))) == 1


def test_crops_are_kept_apart_by_detector(networks, clip, tiny_clip_checkpoint, tmp_path, capsys):
    (tmp_path / "videos" / "happy").mkdir(parents=True)
    (tmp_path / "videos" / "happy" / "a.mp4").write_bytes(clip.read_bytes())
    arguments = [str(tmp_path / "videos"), "--output", str(tmp_path / "store"), "--detector"]
    assert extract_faces([*arguments, networks["yunet"]]) == 0
    store = CropStore.open(tmp_path / "store")
    assert store.provenance["detector"] == DetectorChoice.parse(networks["yunet"]).identity()
    assert [row.num_seen for row in store.read_index()] == [14]
    assert extract_faces([*arguments, "mtcnn"]) == 1
    assert "provenance.detector yunet sha256:" in capsys.readouterr().err
    of_clips = ["--checkpoint", str(tiny_clip_checkpoint), "--json", "--detector", networks["ssd"], "--data"]
    assert evaluate([*of_clips, str(tmp_path / "videos")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["num"], document["num_left_out"]) == (1, 0)
    assert document["detector"] == DetectorChoice.parse(networks["ssd"]).identity()
    assert evaluate([*of_clips, str(tmp_path / "store")]) == 2
    assert "--detector is for videos" in capsys.readouterr().err


def test_live_and_app_take_it_too(networks, clip, tiny_clip_checkpoint, capsys):
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--detector", networks["yunet"]]
    assert live([str(clip), "--no-drop", *arguments]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(documents[-1]["people"]) == 1
    pipeline = app._load(app._parser().parse_args([*arguments, "--backend", "torch"]))
    assert pipeline.detector.identity == DetectorChoice.parse(networks["yunet"]).identity()


def test_a_detector_of_ones_own(tiny_clip_checkpoint, portrait):
    class Known:
        def detect_faces(self, frame: np.ndarray) -> Detections:
            landmarks = np.array([[[162, 90], [183, 92], [172, 105], [161, 110], [182, 111]]], np.float32)
            return Detections(np.array([[150, 69, 194, 127]], np.float32), np.ones(1, np.float32), landmarks)

        def refine_faces(self, frame: np.ndarray, boxes: np.ndarray) -> Detections:
            return self.detect_faces(frame)[np.zeros(len(boxes), np.int64)]

    pipeline = EmotionPipeline.load(tiny_clip_checkpoint, "cpu", detector=Known(), backend="torch")
    analysis = pipeline.analyze_frames(np.stack([draw_frame(portrait)] * 10), np.arange(10) / 25)
    assert analysis.settings["detector"] == "Known"
    assert [len(track.frame_index) for track in analysis.tracks] == [10]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("haar", "--detector haar: unknown, expected mtcnn, yunet:FILE or ssd:FILE"),
        ("mtcnn:x.onnx", "leave the file out"),
        ("yunet", "a file of the network is missing, as in yunet:FILE"),
        ("ssd:", "a file of the network is missing, as in ssd:FILE"),
        ("yunet:{folder}/absent.onnx", "no file {folder}/absent.onnx"),
        ("ssd:{folder}/faces.pb,{folder}/absent.pbtxt", "no file {folder}/absent.pbtxt"),
        ("yunet:{folder}/text.onnx", "cannot run this network"),
        ("yunet:{folder}/empty.onnx", "cannot run this network"),
        ("yunet:{folder}/no_kps.onnx", "no YuNet, lacks the output kps_16"),
        ("yunet:{folder}/four_points.onnx", "gives kps_8 (1, 96, 8), not (1, 96, 10)"),
        ("yunet:{folder}/one_size.onnx", "cannot run this network"),
        ("ssd:{folder}/yunet.onnx", "no single-shot detector"),
        ("ssd:{folder}/text.pb", "name its text too"),
        ("ssd:{folder}/faces.pb,{folder}/text.pbtxt", "cannot run this network"),
        ("ssd:{folder}/text.txt", "unknown kind of network, expected one of .onnx, .pb, .caffemodel"),
    ],
)
def test_a_wrong_detector_is_one_line(tiny_clip_checkpoint, clip, tmp_path, capfd, text, words):
    (tmp_path / "yunet.onnx").write_bytes(yunet_bytes())
    (tmp_path / "no_kps.onnx").write_bytes(yunet_bytes(without="kps_16"))
    (tmp_path / "four_points.onnx").write_bytes(yunet_bytes(values=8))
    (tmp_path / "one_size.onnx").write_bytes(yunet_bytes(rows=6400))
    (tmp_path / "empty.onnx").touch()
    write_ssd(tmp_path)
    for name in ("text.onnx", "text.pb", "text.pbtxt", "text.txt"):
        (tmp_path / name).write_text("no network\n")
    arguments = [str(clip), "--output-dir", str(tmp_path / "out"), "--checkpoint", str(tiny_clip_checkpoint)]
    assert predict_clip([*arguments, "--detector", text.format(folder=tmp_path)]) == 2
    lines = capfd.readouterr().err.splitlines()
    # Protobuf, within OpenCV, prints where the text of a graph is wrong; nothing keeps it from that.
    (line,) = [line for line in lines if not line.startswith("[libprotobuf ERROR")]
    assert line.startswith("error: --detector")
    assert words.format(folder=tmp_path) in line


def test_what_this_opencv_lacks_is_said(networks, tmp_path, monkeypatch):
    (tmp_path / "res10.caffemodel").write_bytes(b"")
    (tmp_path / "deploy.prototxt").write_text("")
    choice = DetectorChoice.parse(f"ssd:{tmp_path}/deploy.prototxt,{tmp_path}/res10.caffemodel")
    assert [Path(file).name for file in choice.files] == ["res10.caffemodel", "deploy.prototxt"]
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        with pytest.raises(UsageError, match="reads no Caffe networks; name the TensorFlow pair"):
            choice.make()
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    with pytest.raises(UsageError, match="built without FaceDetectorYN"):
        DetectorChoice.parse(networks["yunet"]).make()
