"""`predict-clip --formats --plot --report`: files, pictures, wrong names."""

import os

import cv2
import pytest

from emotemporal.cli.predict_clip import main
from emotemporal.report.formats import FORMATS


def test_formats_and_plot_lie_beside_the_json(short_clip, tiny_clip_checkpoint, tmp_path):
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--output-dir", str(tmp_path), "--plot"]
    assert main([str(short_clip), *arguments, "--formats", ", ".join(FORMATS).upper()]) == 0
    suffixes = [".json", ".timeline.png", *(chosen.suffix for chosen in FORMATS.values())]
    assert {child.name for child in tmp_path.iterdir()} == {f"short{suffix}" for suffix in suffixes}
    assert cv2.imread(str(tmp_path / "short.timeline.png")).shape[1] > 1000


def test_a_picture_gets_what_needs_no_time(portrait_picture, tiny_clip_checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--output-dir", str(tmp_path)]
    assert main([str(portrait_picture), *arguments, "--formats", "vtt,coco,segments", "--plot"]) == 0
    assert {child.name for child in tmp_path.iterdir()} == {
        "both.json",
        "both.coco.json",
        "both.segments.csv",
    }
    told = capsys.readouterr().err
    assert "warning: both.png: a picture has no time: vtt, plot not written" in told


@pytest.mark.parametrize("name", ["elan", "vtt,csv"])
def test_unknown_formats_are_told_before_anything_starts(short_clip, tmp_path, capsys, name):
    output = tmp_path / "out"
    assert main([str(short_clip), "--formats", name, "--output-dir", str(output)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: --formats {name.split(',')[-1]}: unknown, choose from segments, ")
    assert not output.exists()


def test_a_report_is_a_page_of_video_overlay_and_warnings(
    short_clip, portrait_picture, tiny_clip_checkpoint, tmp_path
):
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(tiny_clip_checkpoint), "--output-dir", str(out), "--report", "--overlay"]
    inputs = [str(short_clip), str(portrait_picture)]
    assert main([*inputs, *arguments, "--formats", "vtt", "--workers", "1"]) == 0
    for stem, file, overlay in (("short", short_clip, "mp4"), ("both", portrait_picture, "png")):
        text = (out / f"{stem}.report.html").read_text()
        assert f'"url":"./{os.path.relpath(file, out)}"' in text
        assert f'"url":"./{stem}.overlay.{overlay}"' in text
        assert ("a picture has no time: vtt not written" in text) == (stem == "both")
    (out / "short.report.html").unlink()
    # What is lost is made again, what is there stays.
    kept = (out / "both.report.html").stat().st_mtime_ns
    assert main([*inputs, *arguments, "--formats", "vtt", "--workers", "1", "--resume"]) == 0
    assert (out / "short.report.html").exists()
    assert (out / "both.report.html").stat().st_mtime_ns == kept


def test_plots_beside_their_videos_are_no_inputs(portrait_picture, tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.timeline.png").write_bytes(portrait_picture.read_bytes())
    assert main([str(folder), "--output-dir", str(folder)]) == 1
    assert "no videos or pictures in this folder" in capsys.readouterr().err
