"""The same video gives the same files, whatever stands around it."""

import json
from functools import partial

import pytest

from emotemporal.cli.predict_clip import main
from emotemporal.pipeline import EmotionPipeline
from emotemporal.video.reader import VideoReader


@pytest.fixture
def results(tiny_clip_checkpoint, short_clip, portrait_picture, tmp_path, capsys, monkeypatch):
    """Return a function that labels, and gives the bytes of all csv and json files of the short clip."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "short.mp4").write_bytes(short_clip.read_bytes())
    (tmp_path / "in" / "a.png").write_bytes(portrait_picture.read_bytes())
    monkeypatch.chdir(tmp_path)

    def run(out, *arguments):
        options = ["--checkpoint", str(tiny_clip_checkpoint), "--backend", "torch", "--per-frame"]
        assert main([*arguments, *options, "--output-dir", out]) == 0
        capsys.readouterr()
        kept = [path for path in (tmp_path / out).glob("short*") if path.suffix in (".csv", ".json")]
        return {path.name: path.read_bytes() for path in kept}

    return run


def test_company_order_resuming_and_pictures_change_no_number(results):
    alone = results("alone", "in/short.mp4")
    assert set(alone) == {"short.json", "short.frames.csv"}
    batch = ("--workers", "1")
    assert results("again", "in/short.mp4") == alone
    assert results("folder", "in", *batch) == alone
    assert results("folder", "in", *batch, "--resume") == alone
    assert results("order", "in/short.mp4", "in/a.png", *batch) == alone
    assert results("drawn", "in/a.png", "in/short.mp4", *batch, "--overlay", "--plot") == alone
    provenance = json.loads(alone["short.json"])
    assert set(provenance["checkpoint"]) == {"name", "sha256", "licence"}
    assert "emotemporal" in provenance["settings"]["versions"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", ["2", "3"])
def test_the_number_of_processes_and_their_seed_of_hashes_change_no_number(results, workers, monkeypatch):
    first = results("one", "in", "--workers", "1")
    monkeypatch.setenv("PYTHONHASHSEED", workers)
    assert results("several", "in", "in/a.png", "in/short.mp4", "--workers", workers) == first


@pytest.mark.parametrize(("batch_size", "prefetch"), [(1, 1), (4, 3), (24, 1)])
def test_how_frames_are_read_changes_no_number(
    tiny_clip_checkpoint, short_clip, batch_size, prefetch, monkeypatch
):
    pipeline = EmotionPipeline.load(tiny_clip_checkpoint, "cpu", backend="torch", one_thread=True)
    usual = pipeline.analyze(short_clip)
    reader = partial(VideoReader, batch_size=batch_size, prefetch=prefetch)
    monkeypatch.setattr("emotemporal.pipeline.VideoReader", reader)
    other = pipeline.analyze(short_clip)
    assert len(usual.tracks) == 3
    assert other.to_json() == usual.to_json()
    assert other.to_dataframe().equals(usual.to_dataframe())
