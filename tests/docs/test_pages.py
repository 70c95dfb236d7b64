"""Everything that the pages tell to type in works as it stands there, and makes the files they promise.

A block of `bash` or `python` is run, in the page's order, in a folder that looks like a checkout. A comment
`<!-- not run: why -->` before it excuses one that cannot be; its commands and flags must exist all the same.
`<!-- files: a.json b/ -->` after it names what must be there then.
"""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from emotemporal.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$"
    r"(?:\n+<!-- files: (?P<files>[^\n]*?) -->$)?",
    re.MULTILINE | re.DOTALL,
)
_WIDTH = 82
# Text to read, not to run.
_READ = {"text", "json", "csv", "yaml"}
# Of a line that is not run, what is not ours to check.
_OTHERS = {"git", "cd", "python3", "tensorboard"}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    reason: str | None
    """Why it cannot be run."""
    files: tuple[str, ...]
    """What must be there after it, relative to the checkout."""


def read_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["text"],
            text.count("\n", 0, found.start("language")) + 1,
            found["reason"],
            tuple((found["files"] or "").split()),
        )
        for found in _FENCE.finditer(text)
    ]


def _all_blocks() -> list[Any]:
    return [
        pytest.param(block, id=f"{page.stem}:{block.line}") for page in PAGES for block in read_blocks(page)
    ]


def _pages_to_run() -> list[Any]:
    runnable = [p for p in PAGES if any(b.language in ("bash", "python") for b in read_blocks(p))]
    return [pytest.param(page, id=page.stem) for page in runnable]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fence_is_read(page: Path) -> None:
    fences = [line for line in page.read_text(encoding="utf-8").splitlines() if "```" in line]
    assert len(fences) == 2 * len(read_blocks(page))
    marks = re.findall("<!-- (?:not run|files):", page.read_text(encoding="utf-8"))
    assert len(marks) == sum((b.reason is not None) + bool(b.files) for b in read_blocks(page))


@pytest.mark.parametrize("block", _all_blocks())
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in {"bash", "python"} | _READ
    assert block.reason is None or len(block.reason) > 5
    # What does not fit is cut off by the page.
    assert max(map(len, block.text.splitlines())) <= _WIDTH


@pytest.mark.timeout(400)
@pytest.mark.needs_weights
@pytest.mark.parametrize("page", _pages_to_run())
def test_a_page_does_what_it_says(
    page: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in read_blocks(page):
        if block.reason is not None or block.language in _READ:
            continue
        where = f"{page.name}, line {block.line}"
        if block.language == "python":
            # In this process, which has the libraries loaded, and with what the blocks before it made.
            exec(compile(block.text, where, "exec"), names)
        else:
            command = ["bash", "-e", "-o", "pipefail", "-c", block.text]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
        missing = [name for name in block.files if not (checkout / name).exists()]
        assert not missing, f"{where}: no {missing}; there are {_files(checkout)}"


def _files(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found)


@pytest.mark.parametrize("block", [p for p in _all_blocks() if p.values[0].language == "bash"])
def test_commands_and_flags_exist(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if not words:
            continue
        program = Path(words[0]).name
        if program == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), line
        elif program == "pip":
            for extra in re.findall(r"\[([\w,]+)\]", line):
                assert set(extra.split(",")) <= _extras(), line
        elif program == "emotemporal" or (words[1:] and words[1].startswith("tools/")):
            name = words[1] if program == "emotemporal" else Path(words[1]).stem.replace("_", "-")
            _check_flags(name, words[2:], capsys)
        elif block.reason is not None:
            assert program in _OTHERS or (ROOT / words[1]).is_file(), line


def _extras() -> set[str]:
    import tomllib

    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def _check_flags(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if name.startswith("--"):
        assert name in ("--help", "--version")
        return
    assert name in COMMANDS
    with pytest.raises(SystemExit):
        import_module(f"emotemporal.cli.{name.replace('-', '_')}").main(["--help"])
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        # Trainings take both spellings.
        assert {flag, flag[:2] + flag[2:].replace("-", "_")} & known, f"{name} has no {flag}"
