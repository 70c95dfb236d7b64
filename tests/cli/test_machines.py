"""Commands on machines that lack something, and in programs that start processes their own way."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from emotemporal.batch.run import label_videos
from emotemporal.cli.common import guarded
from emotemporal.cli.extract_faces import main as extract_faces
from emotemporal.cli.predict_clip import main as predict_clip
from emotemporal.errors import OUT_OF_MEMORY, UsageError
from emotemporal.files import FolderHold


@pytest.fixture
def arguments(portrait_picture, tiny_clip_checkpoint, tmp_path) -> list[str]:
    """Label a folder of one picture in this process."""
    command = [str(portrait_picture.parent), "--workers", "1", "--output-dir", str(tmp_path / "out")]
    return [*command, "--checkpoint", str(tiny_clip_checkpoint), "--backend", "torch"]


def run(root, code, *arguments, prefix=(), **options) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, which ends with it."""
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    options = {"env": os.environ | {"PYTHONPATH": str(root)}, "capture_output": True} | options
    return subprocess.run(command, text=True, check=False, timeout=300, **options)


def test_cuda_where_there_is_none_is_one_line(arguments, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    for flags in ([*arguments, "--device", "cuda"], [arguments[0], "--device", "cuda", *arguments[1:]]):
        assert predict_clip(flags) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: --device cuda: no CUDA device is present")


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone(arguments, tmp_path, root, capsys):
    (tmp_path / "out").mkdir()
    code = (
        "import sys, time; from pathlib import Path; from emotemporal.files import FolderHold\n"
        "hold = FolderHold(Path(sys.argv[1])); print('held', flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        try:
            assert other.stdout.readline() == "held\n"
            assert predict_clip(arguments) == 2
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert "another run is writing into this folder" in line
            assert not list((tmp_path / "out").iterdir())
        finally:
            other.send_signal(signal.SIGKILL)
    assert predict_clip(arguments) == 0


def test_holds_are_shared_within_a_process_and_end_with_the_last(tmp_path):
    first, second = FolderHold(tmp_path), FolderHold(tmp_path)
    first.release()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        second.release()
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(UsageError, match="another run"):
            FolderHold(tmp_path)
    finally:
        os.close(descriptor)
    FolderHold(tmp_path).release()


def test_a_file_system_without_locks_goes_without(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("emotemporal.files.fcntl.flock", refuse)
    FolderHold(tmp_path).release()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), OUT_OF_MEMORY),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            OUT_OF_MEMORY,
        ),
        (OSError(28, "No space left on device", "/x/y"), "cannot write /x/y: No space left on device"),
        (OSError(30, "Read-only file system", "/x/y"), "cannot write /x/y: Read-only file system"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_what_the_machine_refuses_is_one_line(error, text, capsys):
    @guarded
    def fail(argv=None):
        raise error

    assert fail() == (130 if text == "interrupted" else 1)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.removeprefix("error: ") == text


def test_memory_that_runs_out_in_one_video_leaves_the_others(
    arguments, portrait_picture, tmp_path, monkeypatch, capsys
):
    from emotemporal.pipeline import EmotionPipeline

    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.png").write_bytes(portrait_picture.read_bytes())
    analyze = EmotionPipeline.analyze

    def analyze_unless_large(self, path, **options):
        if path.stem == "a":
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. can't allocate memory")
        return analyze(self, path, **options)

    monkeypatch.setattr(EmotionPipeline, "analyze", analyze_unless_large)
    assert predict_clip([str(folder), *arguments[1:], "--quiet"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == f"error: {folder / 'a.png'}: {OUT_OF_MEMORY}"
    assert (tmp_path / "out" / "b.json").exists()


@pytest.mark.parametrize("place", ["file/out", "/proc/out"])
def test_output_that_cannot_be_written_is_one_line(arguments, manifest, tmp_path, capsys, place):
    (tmp_path / "file").touch()
    path = str(tmp_path / place)
    assert predict_clip([*arguments, "--output-dir", path]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: --output-dir {path}: cannot be made (")
    assert extract_faces([str(manifest), "--output", path]) == 1
    assert f"error: {path}: cannot write the crop store" in capsys.readouterr().err


def test_a_full_disk_keeps_what_is_finished(arguments, portrait_picture, tmp_path, root):
    """A file that may not grow fails as a full disk does: the overlay does not fit, the rest does."""
    code = (
        "import resource, signal, sys; from emotemporal.cli.predict_clip import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.exit(main(sys.argv[1:]))"
    )
    done = run(root, code, *arguments, "--per-frame", "--overlay", "--quiet")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "cannot write" in line
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} >= {"both.json", "both.frames.csv"}
    assert not list((tmp_path / "out").glob(".emotemporal-*"))


# One process each takes seconds, so one shows several wants at once.
def test_without_streams_home_cache_or_text(arguments, tmp_path, root):
    (tmp_path / "file").touch()
    environment = {
        "PYTHONPATH": str(root),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "file" / "none"),
        "LANG": "C",
        "PYTHONIOENCODING": "ascii",
    }
    code = "import sys; from emotemporal.cli.predict_clip import main; sys.exit(main(sys.argv[1:]))"
    done = run(root, code, *arguments, env=environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "person" in done.stdout
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    assert run(root, code, *arguments, "--no-resume", env=environment, prefix=closed).returncode == 0


def test_a_reader_that_leaves_ends_it_quietly(arguments, root):
    code = "import sys; from emotemporal.cli.predict_clip import main; sys.exit(main(sys.argv[1:]))"
    reading, writing = os.pipe()
    os.close(reading)
    done = run(root, code, *arguments, "--json", stdout=writing, stderr=subprocess.PIPE, capture_output=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_stdout_is_one_line(arguments, root):
    code = "import sys; from emotemporal.cli.predict_clip import main; sys.exit(main(sys.argv[1:]))"
    with open("/dev/full", "w") as full:
        done = run(
            root, code, *arguments, "--json", stdout=full, stderr=subprocess.PIPE, capture_output=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


EMBEDDING = """
import multiprocessing, os, sys, threading

def analyze(queue=None):
    from emotemporal import EmotionPipeline
    people = len(EmotionPipeline.load(sys.argv[2], "cpu", backend="torch").analyze(sys.argv[1]).tracks)
    print(people, flush=True) if queue is None else queue.put(people)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[3])
    if sys.argv[3] == "fork":
        import emotemporal.pipeline
    else:
        analyze()
    process = multiprocessing.Process(target=analyze)
    process.start()
    thread = threading.Thread(target=analyze)
    thread.start()
    thread.join()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "num"), [("fork", 2), ("spawn", 3)])
def test_in_programs_that_fork_spawn_and_thread(
    short_clip, tiny_clip_checkpoint, tmp_path, root, method, num
):
    path = tmp_path / "program.py"
    path.write_text(EMBEDDING)
    command = [sys.executable, str(path), str(short_clip), str(tiny_clip_checkpoint), method]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(set(done.stdout.split())) == 1
    assert len(done.stdout.split()) == num


def test_a_forked_copy_leaves_the_decoder_of_its_parent_alone(short_clip):
    from emotemporal.video.reader import VideoReader

    with VideoReader(short_clip) as reader:
        batches = iter(reader)
        num = len(next(batches))
        pid = os.fork()
        if pid == 0:
            reader.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        num += sum(len(batch) for batch in batches)
        assert (num, reader.decoder, reader.warnings) == (9, "decord", [])


ORPHAN = """
import os, signal, sys, time
from emotemporal.video.reader import VideoReader
reader = VideoReader(sys.argv[1]).__enter__()
batches = iter(reader)
next(batches)
print(reader._child.process_id, flush=True)
while open(f"/proc/{reader._child.process_id}/stat").read().rpartition(")")[2].split()[0] != "T":
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_stopped_decoder_ends_with_its_parent_whoever_inherits_it(root):
    """Where an orphan's new parent has the same session, as in containers, the kernel does not wake it."""
    code = (
        "import ctypes, subprocess, sys, time\n"
        "assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER\n"
        "done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE, text=True)\n"
        "print(done.stdout.strip(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, "-c", ORPHAN, str(root / "examples" / "demo.mp4")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reaper:
        decoder = int(reaper.stdout.readline())
        until = time.monotonic() + 30
        while _state(decoder) not in "Z" and time.monotonic() < until:
            time.sleep(0.1)
        left = _state(decoder)
        with contextlib.suppress(ProcessLookupError):
            os.kill(decoder, signal.SIGKILL)
        reaper.communicate()
    assert left in "Z"


def _state(pid: int) -> str:
    """Return the letter of a process's state, '' for none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.slow
def test_one_core_without_network_or_temporary_folder_makes_no_difference(arguments, tmp_path, root):
    code = "import sys; from emotemporal.cli.predict_clip import main; sys.exit(main(sys.argv[1:]))"
    assert run(root, code, *arguments).returncode == 0
    expected = (tmp_path / "out" / "both.json").read_bytes()
    prefix = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        prefix += ["unshare", "-n"]
    environment = os.environ | {"PYTHONPATH": str(root), "TMPDIR": str(tmp_path / "none")}
    done = run(root, code, *arguments, "--no-resume", prefix=prefix, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "both.json").read_bytes() == expected


def test_a_batch_lets_the_folder_go_when_it_is_closed_early(portrait_picture, tiny_clip_checkpoint, tmp_path):
    from emotemporal.batch.jobs import Job, Request

    jobs = [Job(portrait_picture, "a"), Job(portrait_picture, "b")]
    outcomes = label_videos(jobs, Request(str(tiny_clip_checkpoint), backend="torch"), tmp_path)
    next(outcomes)
    outcomes.close()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    assert json.loads((tmp_path / "a.json").read_text())["people"]
