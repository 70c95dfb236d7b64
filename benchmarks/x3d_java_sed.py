"""Clip accuracy of X3D, end to end from pixels, on Java-SED with one actor held out at a time.

python benchmarks/x3d_java_sed.py STORE [RUN_FOLDER]

The crops come from `tools/extract_faces.py ../shared/data/java_sed --output STORE`. The run folder,
`runs/x3d_java_sed` by default, keeps every epoch: an interrupted run goes on where it stopped. The network
starts at random weights.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from results import ROOT, write_result

from emotemporal.cli.common import guarded
from emotemporal.errors import UsageError
from emotemporal.training.clip3d import Clip3dConfig, measure_clip3d
from emotemporal.training.config import RunConfig
from emotemporal.training.engine import settings_of


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) not in (1, 2):
        raise UsageError(f"expected STORE [RUN_FOLDER], found {len(arguments)} arguments")
    folder = Path(arguments[1]) if len(arguments) == 2 else ROOT / "runs" / "x3d_java_sed"
    run = RunConfig(folder=folder, precision="32-true", accelerator="cpu")
    config = Clip3dConfig(store=Path(arguments[0]), run=run)
    found = measure_clip3d(config)["aggregations"]["head"]
    keys = ("num", "num_without_prediction", "uar", "macro_f1", "ece", "per_class_recall", "per_subject")
    settings = settings_of(config)
    details = {key: found[key] for key in keys} | {
        "protocol": config.protocol,
        "initial_weights": "random",
        **{name: settings[name] for name in ("network", "optim", "augmentation", "num_views")},
    }
    write_result(
        "java_sed_x3d",
        found["accuracy"],
        unit=f"share of {found['num']} clips",
        interval=found.get("interval"),
        details=details,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
