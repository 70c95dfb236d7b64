"""Probes in processes of their own, so that one that crashes or hangs is a finding and not the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from emotemporal.doctor.findings import Finding

_TIMEOUT_SECONDS = 180.0
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from emotemporal.doctor.probes import main; main(sys.argv[2:])"
)


class ProbeProcess:
    """Does probes one after the other; starts at once, is waited for by `findings`.

    Args:
        probes: names as `probes.main` takes them.
    """

    def __init__(self, probes: Sequence[str]) -> None:
        self._probes = list(probes)
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - open as long as it
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        paths = [os.path.abspath(entry) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps(paths), *probes],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            # What is imported may write to stdout, too: its own lines begin with a mark.
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        )

    def findings(self) -> Iterator[Finding]:
        """Wait for the process, and for others that do what it left undone where it died."""
        try:
            code = self._process.wait(_TIMEOUT_SECONDS)
            fate = "" if code == 0 else _describe_end(code)
        except subprocess.TimeoutExpired:
            fate = f"no answer within {_TIMEOUT_SECONDS:.0f} s"
        finally:
            self._process.kill()
            self._process.wait()
        begun, ended = 0, 0
        for line in _read(self._output).splitlines():
            if line.startswith("begin "):
                begun += 1
            elif line.startswith("end "):
                ended += 1
            elif line.startswith("found "):
                yield Finding(**json.loads(line.removeprefix("found ")))
        lines = _read(self._errors).strip().splitlines()
        last = f" ({lines[-1][:200]})" if lines else ""
        self._output.close()
        self._errors.close()
        if fate and begun == 0:
            yield Finding(
                "Python", "fault", f"a process of it cannot start: {fate}{last}", "install Python anew"
            )
        elif begun > ended:
            name = self._probes[begun - 1]
            package = name.removeprefix("import:")
            advice = f"run: pip install --force-reinstall {package}" if package != name else "install anew"
            yield Finding(package, "fault", f"{fate}{last}", advice)
            if self._probes[begun:]:
                yield from ProbeProcess(self._probes[begun:]).findings()


def _read(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()


def _describe_end(code: int) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def portrait() -> Path:
    """Return the picture whose face and expression are known."""
    return Path(__file__).with_name("portrait.jpg")
