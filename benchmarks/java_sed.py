"""Clip accuracy on Java-SED with one actor held out at a time, for every kind of head, over three seeds.

python benchmarks/java_sed.py runs/java_sed_store

The crops come from `tools/extract_faces.py ../shared/data/java_sed --output runs/java_sed_store`. Figures are
means over seeds; `tools/evaluate.py --cross-validation` gives the same of run folders.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from results import ROOT, write_result

from emotemporal.cli.common import parse_settings
from emotemporal.training.clip import train_clip
from emotemporal.training.config import ClipConfig
from emotemporal.training.cross_validation import measure_cross_validation, read_cross_validation
from emotemporal.workers import available_cores

_KINDS = ("bigru", "gru", "transformer")
_SEEDS = (0, 1, 2)
_AGGREGATIONS = ("head", "sum", "vote")


def main(store: str) -> None:
    arguments = ["--config", str(ROOT / "configs" / "clip_java_sed.yaml"), "--store", store]
    config = parse_settings("train-clip", ClipConfig, "", arguments)
    # New folders: nothing of an earlier run is taken over.
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            replace(
                config,
                head=replace(config.head, kind=kind),
                run=replace(config.run, folder=Path(folder) / kind / str(seed), seed=seed),
            )
            for kind in _KINDS
            for seed in _SEEDS
        ]
        # Heads are small: two trainings in a thread each are faster than one after the other in two.
        Parallel(n_jobs=available_cores())(delayed(train_clip)(run) for run in runs)
        measured = {
            kind: measure_cross_validation(
                [read_cross_validation(run.run.folder) for run in runs if run.head.kind == kind]
            )
            for kind in _KINDS
        }
    shown = config.head.kind
    for name in _AGGREGATIONS:
        found = measured[shown][name]
        write_result(
            f"java_sed_{name}",
            found["accuracy"],
            unit=f"share of {found['num']} clips, mean over {len(_SEEDS)} seeds",
            interval=found["interval"],
            details=details_of(name, shown, measured) | {"protocol": config.protocol, "seeds": list(_SEEDS)},
        )


def details_of(name: str, shown: str, measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is written beside the accuracy of an aggregation.

    Args:
        name: the aggregation.
        shown: kind of the head whose figures are the headline.
        measured: kind -> its measurement over seeds.
    """
    keys = ("num", "uar", "macro_f1", "ece", "per_class_recall", "per_subject", "subject_deviation")
    of_seeds = ("per_run", "deviation")
    details = {key: measured[shown][name][key] for key in (*keys, *of_seeds)}
    details["interval_of"] = "accuracy averaged over seeds; bootstrap over actors"
    if name == "head":
        kept = ("accuracy", "uar", "macro_f1", "ece", "interval", *of_seeds)
        details["kind"] = shown
        details["other_kinds"] = {
            kind: {key: found["head"][key] for key in kept} for kind, found in measured.items()
        }
    return details


if __name__ == "__main__":
    main(*sys.argv[1:])
