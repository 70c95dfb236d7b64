"""Names, addresses and folders that mean harm: results stay where they belong, output stays text."""

import csv
import json
import os
import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pytest

from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.cli.predict_clip import main as predict_clip

NASTY = {
    "line break": "a\nerror: all is well",
    "terminal title": "\x1b]0;owned\x07\x1b[2Jb",
    "markup": "[red]c[bold] [link=x]y",
    "mathtext": r"$\frac{1}{0}$ ${x",
    "option": "--json",
    "formula": '=HYPERLINK("x","y")',
    "captions": "x --> y <b>&amp;",
    "quotes": '"it\'s" `touch x` $(touch x); touch x',
    "dots": "...",
    "long": "n" * 200,
    "reserved": "CON",
    "percent": "50%d %s %%",
    "bytes": os.fsdecode(b"caf\xe9"),
    "right to left": "\u202egnp.exe",
}


@pytest.fixture
def predict(tiny_clip_checkpoint, tmp_path, monkeypatch, capfd):
    """Run the command; return its exit code, stdout and lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, out="out"):
        options = ["--output-dir", out, "--checkpoint", str(tiny_clip_checkpoint), "--backend", "torch"]
        code = predict_clip([*map(str, arguments), *options])
        printed = capfd.readouterr()
        return code, printed.out, printed.err.splitlines()

    return call


def all_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_no_name_leaves_the_folder_or_commands_a_terminal(predict, portrait_picture, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    blank = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    for name in NASTY.values():
        (folder / f"{name}.png").write_bytes(blank)
        (folder / f"{name}.mp4").write_bytes(b"none")
    (folder / f"{NASTY['formula']}.png").write_bytes(portrait_picture.read_bytes())
    before = all_below(tmp_path)
    formats = ("--formats", "segments,statistics,coco")
    code, out, errors = predict(folder, "--per-frame", *formats, "--overlay", "--workers", "1")
    assert code == 1
    new = all_below(tmp_path) - before
    assert {path.parent for path in new} == {tmp_path / "out"}
    # A line for each fault, and nothing but printable text and line breaks anywhere.
    assert len([line for line in errors if line.startswith("error: ")]) == len(NASTY)
    assert [line for line in [*errors, *out.splitlines()] if not line.isprintable()] == []
    # The pictures' results have a number: the videos had the names first.
    assert {f"{name}-2.overlay.png" for name in NASTY.values()} <= {path.name for path in new}
    for table in (tmp_path / "out").glob("*.csv"):
        with table.open(newline="", errors="surrogateescape") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_annotations_and_pictures_take_any_name(predict, short_clip, tmp_path):
    name = f"{NASTY['mathtext']} {NASTY['captions']} {NASTY['line break']}"
    video = tmp_path / f"{name}.mp4".replace("/", "")
    video.write_bytes(short_clip.read_bytes())
    code, _, _ = predict(video, "--formats", "eaf,vtt,srt,textgrid", "--plot")
    assert code == 0
    ElementTree.parse(tmp_path / "out" / f"{video.stem}.eaf")
    assert (tmp_path / "out" / f"{video.stem}.timeline.png").stat().st_size > 1000
    lines = (tmp_path / "out" / f"{video.stem}.vtt").read_text().splitlines()
    assert [line for line in lines if "-->" in line and not line[:2].isdecimal()] == []


def test_an_output_that_is_a_link_is_replaced_not_followed(predict, portrait_picture, tmp_path):
    (tmp_path / "out").mkdir()
    target = tmp_path / "precious.txt"
    target.write_text("mine")
    (tmp_path / "out" / "both.json").symlink_to(target)
    assert predict(portrait_picture)[0] == 0
    assert target.read_text() == "mine"
    assert not (tmp_path / "out" / "both.json").is_symlink()
    assert json.loads((tmp_path / "out" / "both.json").read_text())["people"]


@pytest.mark.parametrize("entry", ["sub/../../../other.mp4", "{absolute}"])
def test_no_entry_of_a_manifest_leads_out_of_the_store(entry, tmp_path, capsys):
    folder = tmp_path / "a" / "b"
    (folder / "sub").mkdir(parents=True)
    video = tmp_path / "other.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 128, 96
        container.mux(stream.encode(av.VideoFrame(128, 96, "yuv420p")))
        container.mux(stream.encode())
    (folder / "manifest.csv").write_text(f"path,label,subject\n{entry.format(absolute=video)},happy,=1+1\n")
    before = all_below(tmp_path)
    assert extract_faces([str(folder / "manifest.csv"), "--output", str(tmp_path / "store")]) == 0
    new = all_below(tmp_path) - before
    assert new
    assert all(path.is_relative_to(tmp_path / "store") for path in new)
    with (tmp_path / "store" / "extraction.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["status"], row["subject"]) == ("no_face", "'=1+1")


@pytest.mark.parametrize("entry", ["a\0b.mp4", "n" * 5000, "..", "/"])
def test_an_entry_that_is_no_path_is_one_line(entry, tmp_path, capsys):
    (tmp_path / "manifest.csv").write_text(f"path,label\n{entry},happy\n")
    assert extract_faces([str(tmp_path / "manifest.csv"), "--output", str(tmp_path / "store")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()


class _Handler(BaseHTTPRequestHandler):
    """Serves one file whatever is asked for, in ranges."""

    def __init__(self, content: bytes, *arguments) -> None:
        self.content = content
        super().__init__(*arguments)

    def do_GET(self) -> None:
        first = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        self.send_response(206)
        self.send_header("Content-Length", str(len(self.content) - first))
        last = len(self.content) - 1
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(memoryview(self.content)[first:])

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def address(short_clip):
    """An address with a password and a key in it."""
    server = HTTPServer(("127.0.0.1", 0), partial(_Handler, short_clip.read_bytes()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:s3cret@127.0.0.1:{server.server_port}/short.mp4?key=s3cret"
    server.shutdown()
    server.server_close()


def test_no_secret_of_an_address_is_written_or_shown(predict, address, tmp_path):
    formats = "segments,statistics,coco,eaf,vtt,srt,textgrid"
    absent = "https://user:s3cret@127.0.0.1:9/none.mp4?key=s3cret"
    arguments = (address, absent, "--formats", formats, "--overlay", "--plot", "--per-frame", "--json")
    code, out, errors = predict(*arguments, "--workers", "1")
    assert code == 1
    assert "s3cret" not in out
    assert not [line for line in errors if "s3cret" in line]
    written = all_below(tmp_path / "out")
    names = {path.name for path in written}
    assert {"short.json", "short.overlay.mp4", "short.eaf", "summary.csv"} <= names
    for path in written:
        assert "s3cret" not in path.name
        assert b"s3cret" not in path.read_bytes(), path.name
    shown = json.loads((tmp_path / "out" / "short.json").read_text())["video"]["path"]
    assert shown.startswith("http://***@127.0.0.1:")
    assert shown.endswith("/short.mp4?***")
    assert any("none.mp4" in line for line in errors)


def test_a_bomb_in_a_folder_costs_only_itself(predict, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    picture = np.zeros((8, 8, 3), np.uint8)
    cv2.imwrite(str(folder / "good.png"), picture)
    done, encoded = cv2.imencode(".bmp", picture)
    assert done
    content = bytearray(encoded.tobytes())
    content[18:26] = (100_000).to_bytes(4, "little") * 2
    (folder / "bomb.bmp").write_bytes(content)
    code, _, errors = predict(folder, "--workers", "1")
    assert code == 1
    assert [line for line in errors if "bomb.bmp" in line and "more than" in line]
    assert (tmp_path / "out" / "good.json").exists()
