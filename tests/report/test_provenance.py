"""Every file says what made it, where its format has a place: read back with other tools' readers."""

import json
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import webvtt
from PIL import Image
from pympi.Elan import Eaf

from emotemporal.report.formats import FORMATS
from emotemporal.report.plots import save_figure
from emotemporal.report.timeline import plot_timeline
from emotemporal.video.writer import VideoWriter, write_picture

CHECKPOINT = {"name": "toy --> é", "sha256": "5" * 64, "licence": "MIT"}
SETTINGS = {"smooth": "hmm", "versions": {"emotemporal": "1.2.3"}}
MADE_BY = {"checkpoint": CHECKPOINT, "settings": SETTINGS}


@pytest.fixture
def analysis(make_analysis, make_person, tmp_path):
    found = make_analysis(
        make_person(1, (10, 20, 50, 70), num_frames=20), num_frames=20, path=str(tmp_path / "a.mp4")
    )
    return replace(found, **MADE_BY)


def of_parquet(path):
    from pyarrow import parquet

    return json.loads(parquet.read_schema(path).metadata[b"emotemporal"])


def of_json(path):
    return json.loads(path.read_text())


def of_coco(path):
    return json.loads(path.read_text())["info"]


def of_elan(path):
    return json.loads(dict(Eaf(str(path)).properties)["emotemporal"])


def of_webvtt(path):
    (note,) = [line[5:] for line in path.read_text().splitlines() if line.startswith("NOTE ")]
    assert len(webvtt.read(str(path)).captions) >= 1
    return json.loads(note.replace("->", "-->"))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("parquet", of_parquet),
        ("statistics", of_json),
        ("coco", of_coco),
        ("eaf", of_elan),
        ("vtt", of_webvtt),
    ],
)
def test_a_table_says_what_made_it(analysis, tmp_path, name, read):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"a{FORMATS[name].suffix}"
    FORMATS[name].write(analysis, path)
    found = read(path)
    assert {key: found[key] for key in MADE_BY} == MADE_BY


def test_pictures_say_what_made_them(analysis, tmp_path):
    line = analysis.provenance_line()
    save_figure(plot_timeline(analysis), tmp_path / "a.png", comment=line)
    frame = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    write_picture(tmp_path / "b.png", frame, comment=line)
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as picture:
            picture.load()
            assert json.loads(picture.text["Comment"]) == MADE_BY
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "b.png"))[:, :, ::-1], frame)
    write_picture(tmp_path / "c.jpg", frame, comment=line)
    assert cv2.imread(str(tmp_path / "c.jpg")).shape == frame.shape


def test_an_overlay_says_what_made_it(analysis, tmp_path):
    path = tmp_path / "o.mp4"
    with VideoWriter(path, width=64, height=48, comment=analysis.provenance_line()) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    with av.open(str(path)) as container:
        assert json.loads(container.metadata["comment"]) == MADE_BY
