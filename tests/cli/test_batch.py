"""Folders of videos: the same results from several processes, after a kill, in part from an earlier run."""

import csv
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from emotemporal.batch import run as batch_run
from emotemporal.cli.predict_clip import main
from emotemporal.errors import OutputError
from emotemporal.workers import Death

JOURNAL = ".emotemporal_done.jsonl"


@pytest.fixture
def folder(tmp_path, portrait_picture) -> Path:
    """Pictures `a` and `b`, of two people each, and `=c`, which is none."""
    path = tmp_path / "in"
    path.mkdir()
    picture = cv2.imread(str(portrait_picture))
    for number, name in enumerate("ab"):
        cv2.imwrite(str(path / f"{name}.png"), picture[:, number:])
    (path / "=c.mp4").write_text("no video")
    return path


@pytest.fixture
def run(tiny_clip_checkpoint, tmp_path, monkeypatch, capsys):
    """Run the command within the temporary folder; return its exit code, stdout and lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, checkpoint=tiny_clip_checkpoint):
        out = ["--output-dir", "out", "--checkpoint", str(checkpoint)]
        code = main([*map(str, arguments), *out])
        printed = capsys.readouterr()
        return code, printed.out, printed.err.strip().splitlines()

    return call


@pytest.fixture
def labelled(monkeypatch):
    """Names of the videos that are labelled, of all runs."""
    from emotemporal.batch.labeller import Labeller

    names, label = [], Labeller.label

    def noting(self, job, on_progress):
        names.append(job.video.name)
        return label(self, job, on_progress)

    monkeypatch.setattr(Labeller, "label", noting)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that is there but the journal, which tells of times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != JOURNAL}


def test_the_summary_has_a_row_for_every_person_and_every_failure(run, folder, tmp_path):
    assert run("in", "--workers", "1", "--aggregate", "vote")[0] == 1
    with (tmp_path / "out" / "summary.csv").open(newline="") as stream:
        failed, *rows = csv.DictReader(stream)
    assert [row["video"] for row in rows] == ["in/a.png"] * 2 + ["in/b.png"] * 2
    document = json.loads((tmp_path / "out" / "b.json").read_text())
    for row, person in zip(rows[2:], document["people"], strict=True):
        vote = person["clip"]["vote"]
        assert (row["person"], row["label"]) == (str(person["track_id"]), vote["emotion"])
        assert float(row["confidence"]) == pytest.approx(vote["confidence"], abs=1e-6)
        assert row["aggregations_agree"] == ("yes" if person["aggregations_agree"] else "no")
        assert (row["share_seen"], row["first_seconds"], row["error"]) == ("1.0000", "0.000000", "")
    assert failed["video"] == "in/=c.mp4"
    assert failed["label"] == failed["warnings"] == ""
    assert "in/=c.mp4" in failed["error"]


def test_a_table_of_videos_is_labelled_and_gone_on_with(run, folder, tmp_path, labelled):
    (tmp_path / "list.csv").write_text("path,label\nin/b.png,happy\nin/gone.mp4,\n")
    code, out, errors = run("list.csv", "--json", "--workers", "1")
    assert code == 1
    assert [video["video"]["path"] for video in json.loads(out)["videos"]] == ["in/b.png"]
    assert "error: in/gone.mp4: no such file; check the path" in errors
    with (tmp_path / "out" / "summary.csv").open(newline="") as stream:
        assert {row["video"] for row in csv.DictReader(stream)} == {"in/b.png", "in/gone.mp4"}
    run("list.csv", "--workers", "1")
    assert labelled.count("b.png") == 1


def test_what_a_spreadsheet_would_calculate_is_text(run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    code, _, _ = run("./=c.mp4", "a.png", "--workers", "1")
    assert code == 1
    with (folder / "out" / "summary.csv").open(newline="") as stream:
        failed, *_ = csv.DictReader(stream)
    assert failed["video"] == "'=c.mp4"
    assert failed["error"].startswith("'=c.mp4: ")


def test_nothing_is_done_twice_and_everything_is_told_again(run, folder, labelled, tmp_path):
    arguments = ("in", "--per-frame", "--workers", "1", "--json")
    code, first, _ = run(*arguments)
    assert code == 1
    assert labelled == ["=c.mp4", "a.png", "b.png"]
    before = contents(tmp_path / "out")
    code, again, errors = run(*arguments)
    # What failed is tried again.
    assert labelled[3:] == ["=c.mp4"]
    assert (code, again) == (1, first)
    assert errors[-1] == "2 of 3 videos were done already; --no-resume does them again"
    assert contents(tmp_path / "out") == before


def change_content(folder, out):
    picture = cv2.imread(str(folder / "a.png"))
    cv2.imwrite(str(folder / "a.png"), picture[:-2])


def lose_output(folder, out):
    (out / "a.frames.csv").unlink()


def cut_output(folder, out):
    path = out / "a.json"
    path.write_bytes(path.read_bytes()[:-9])


def cut_journal(folder, out):
    path = out / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[0])["stem"] == "a"
    path.write_bytes(lines[1] + lines[0][: len(lines[0]) // 2])


@pytest.mark.parametrize("change", [change_content, lose_output, cut_output, cut_journal])
def test_only_what_has_changed_is_done_again(run, folder, labelled, tmp_path, change):
    (folder / "=c.mp4").unlink()
    arguments = ("in", "--per-frame", "--workers", "1")
    assert run(*arguments)[0] == 0
    change(folder, tmp_path / "out")
    labelled.clear()
    for expected in (["a.png"], []):
        assert run(*arguments)[0] == 0
        assert labelled == expected
        labelled.clear()
    assert run(*arguments, "--no-resume")[0] == 0
    assert labelled == ["a.png", "b.png"]


def test_what_was_asked_otherwise_is_done_again(run, folder, labelled, tiny_ferplus_checkpoint, tmp_path):
    (folder / "=c.mp4").unlink()
    (folder / "b.png").unlink()
    assert run("in", "--workers", "1")[0] == 0
    for flags in (
        ["--smooth", "ema"],
        ["--overlay"],
        ["--report"],
        ["--aggregate", "sum"],
        ["--labels", "binary"],
    ):
        labelled.clear()
        assert run("in", *flags)[0] == 0
        assert labelled == ["a.png"]
    labelled.clear()
    assert run("in", "--labels", "binary", checkpoint=tiny_ferplus_checkpoint)[0] == 0
    # Of a single video nothing is taken from an earlier run.
    assert run("in/a.png", "--labels", "binary", checkpoint=tiny_ferplus_checkpoint)[0] == 0
    assert labelled == ["a.png", "a.png"]
    labelled.clear()
    assert run("in", "--labels", "binary", checkpoint=tiny_ferplus_checkpoint)[0] == 0
    # What the single one wrote meanwhile may be of other settings.
    assert labelled == ["a.png"]


def test_json_lines_are_one_document_a_video(run, folder, tmp_path):
    code, printed, errors = run("in", "--json-lines", "--quiet", "--workers", "1")
    assert code == 1
    assert [line.partition(":")[0] for line in errors] == ["error"]
    lines = [json.loads(line) for line in printed.splitlines()]
    assert lines == [json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in "ab"]
    assert run("in", "--quiet")[1] == ""


@pytest.mark.parametrize("flags", [["--workers", "0"], ["--workers", "many"], ["--json", "--json-lines"]])
def test_wrong_usage_is_one_line(run, folder, flags):
    code, printed, (line,) = run("in", *flags)
    assert (code, printed) == (2, "")
    assert line.startswith(f"error: {flags[0]}")


def test_a_full_disk_is_one_line_and_keeps_what_is_done(run, folder, labelled, tmp_path, monkeypatch):
    (folder / "=c.mp4").unlink()
    from emotemporal.batch import labeller

    write = labeller.write_json

    def write_until_full(analysis, path):
        if Path(path).name == "b.json":
            full = OSError(errno.ENOSPC, "No space left on device")
            raise OutputError(f"cannot write {path}: {full.strerror}") from full
        write(analysis, path)

    with monkeypatch.context() as patch:
        patch.setattr(labeller, "write_json", write_until_full)
        code, _, errors = run("in", "--workers", "1")
    assert code == 1
    assert errors == ["error: cannot write out/b.json: No space left on device"]
    assert set(contents(tmp_path / "out")) == {"a.json"}
    assert run("in", "--workers", "1")[0] == 0
    assert labelled == ["a.png", "b.png", "b.png"]


def test_a_dead_process_is_a_failure_of_its_video(run, folder, tmp_path, monkeypatch):
    def run_in_processes(jobs, make_handler, *, workers, on_share):
        assert workers == 2
        handle = make_handler()
        for job in jobs:
            dies = job.stem == "a"
            yield job, Death(-9) if dies else handle(job, lambda share: None)

    monkeypatch.setattr(batch_run, "run_in_processes", run_in_processes)
    code, _, errors = run("in", "--workers", "2")
    assert code == 1
    assert any(line.startswith("error: in/a.png: the process for it was killed") for line in errors)
    summary = (tmp_path / "out" / "summary.csv").read_text()
    assert 'in/a.png,,,,,,,,,"in/a.png: the process for it was killed, ' in summary
    assert (tmp_path / "out" / "b.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_several_processes_kills_and_interrupts_change_no_result(
    run, root, short_clip, tiny_clip_checkpoint, labelled, tmp_path
):
    (tmp_path / "in").mkdir()
    for name in "abcdef":
        (tmp_path / "in" / f"{name}.mp4").write_bytes(short_clip.read_bytes())
    assert run("in", "--per-frame", "--workers", "1")[0] == 0
    whole = contents(tmp_path / "out")

    command = [sys.executable, str(root / "tools" / "predict_clip.py"), "in", "--per-frame", "--workers", "2"]
    command += ["--output-dir", "other", "--checkpoint", str(tiny_clip_checkpoint), "--json-lines"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    pauses = random.Random(0)
    told: list[str] = []
    kept: dict[str, int] = {}
    for sent in (signal.SIGKILL, signal.SIGINT, None):
        with subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as process:
            if sent is not None:
                # One video more than before.
                for _ in range(len(kept) + 1):
                    told.append(json.loads(process.stdout.readline())["video"]["path"])
                time.sleep(pauses.uniform(0, 0.1))
                if sent == signal.SIGINT:
                    os.killpg(process.pid, sent)
                else:
                    process.send_signal(sent)
            printed, errors = process.communicate()
        assert process.returncode == (
            130 if sent == signal.SIGINT else 0 if sent is None else -signal.SIGKILL
        )
        if sent == signal.SIGINT:
            assert errors.strip().splitlines() == ["interrupted"]
            assert not list((tmp_path / "other").glob(".emotemporal-*"))
        done = [json.loads(line)["stem"] for line in (tmp_path / "other" / JOURNAL).read_text().splitlines()]
        assert len(done) == len(set(done))
        stamps = {name: (tmp_path / "other" / f"{name}.json").stat().st_mtime_ns for name in done}
        # What was done is not done again.
        assert kept.items() <= stamps.items()
        assert len(stamps) > len(kept)
        kept = stamps
    assert len(printed.splitlines()) == len(kept) == 6
    assert contents(tmp_path / "other") == whole
