"""Clip accuracy on Java-SED with one actor held out at a time, for every kind of head.

python benchmarks/java_sed.py runs/java_sed_store

The crops come from `tools/extract_faces.py ../shared/data/java_sed --output runs/java_sed_store`.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from results import ROOT, write_result

from emotemporal.cli.common import parse_settings
from emotemporal.training.clip import train_clip
from emotemporal.training.config import ClipConfig

_KINDS = ("bigru", "gru", "transformer")


def main(store: str) -> None:
    arguments = ["--config", str(ROOT / "configs" / "clip_java_sed.yaml"), "--store", store]
    config = parse_settings("train-clip", ClipConfig, "", arguments)
    reports = {}
    for kind in _KINDS:
        # A new folder: nothing of an earlier run is taken over.
        with tempfile.TemporaryDirectory() as folder:
            run = replace(config.run, folder=Path(folder))
            train_clip(replace(config, head=replace(config.head, kind=kind), run=run))
            reports[kind] = json.loads((run.folder / "report.json").read_text())["aggregations"]
    shown = config.head.kind
    for name in ("head", "sum", "vote"):
        found = reports[shown][name]
        details = {key: found[key] for key in ("num", "uar", "macro_f1", "ece", "per_class_recall")}
        details |= {"protocol": config.protocol, "per_subject": found["per_subject"]}
        if name == "head":
            keys = ("accuracy", "uar", "macro_f1", "interval")
            details["kind"] = shown
            details["other_kinds"] = {k: {key: reports[k]["head"][key] for key in keys} for k in _KINDS}
        write_result(
            f"java_sed_{name}",
            found["accuracy"],
            unit="share of 240 clips",
            interval=found["interval"],
            details=details,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
