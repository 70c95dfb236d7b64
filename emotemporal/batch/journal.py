"""The journal of an output folder: which videos are done, of what content, and as what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotemporal.batch.jobs import Job, Outcome, file_stamp
from emotemporal.errors import OutputError
from emotemporal.files import replacing
from emotemporal.text import redacted

_NAME = ".emotemporal_done.jsonl"
_FIELDS = ("stem", "video", "source", "request", "outputs")


class Journal:
    """Remembers finished videos, one line of JSON each, so that a later run need not do them again.

    A line is added once all results of a video are in place; of a run that is killed while it writes one,
    half a line is left at most, which is none.

    Args:
        folder: of the results.
        fingerprint: of what is asked for.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._fingerprint = fingerprint
        self._records = _read(self._path)
        self._is_tidy = False

    def find(self, job: Job) -> Outcome | None:
        """Return what an earlier run made of a video, if it is still what this one would make."""
        record = self._records.get(job.stem)
        if record is None or record != self._record(job, record["source"], record["outputs"]):
            return None
        # JSON knows lists alone.
        if list(file_stamp(job.video) or ()) != record["source"]:
            return None
        outputs = record["outputs"]
        if any(list(file_stamp(self._folder / name) or ()) != stamp for name, stamp in outputs.items()):
            return None
        try:
            document = json.loads((self._folder / f"{job.stem}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Outcome(job, document, was_there=True)

    def add(self, outcome: Outcome) -> None:
        """Remember a video whose results are all written.

        Raises:
            OutputError: the journal cannot be written.
        """
        if not self._is_tidy:
            self._tidy()
        self._is_tidy = True
        record = self._record(outcome.job, outcome.source, outcome.outputs)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error

    def _record(self, job: Job, source: Any, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "stem": job.stem,
            "video": redacted(str(job.video)),
            "source": source,
            "request": self._fingerprint,
            "outputs": outputs,
        }

    def _tidy(self) -> None:
        """Leave one whole line for each video: after half a line, the next would be lost with it."""
        with replacing(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in self._records.values())


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return {}
    records = {}
    # What follows the last end of a line is not a whole one.
    for line in lines[:-1]:
        try:
            record = json.loads(line)
            records[record["stem"]] = {name: record[name] for name in _FIELDS}
        except (ValueError, KeyError, TypeError):
            continue
    return records
