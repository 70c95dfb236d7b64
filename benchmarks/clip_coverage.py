"""How many clips of Java-SED keep a label at a least confidence, and how many of these labels are right.

python benchmarks/clip_coverage.py runs/java_sed_0 runs/java_sed_1

Run folders of `tools/train_clip.py --config configs/clip_java_sed.yaml --run.seed N`, which hold what heads
said of actors they had not seen, calibrated on the other actors. Figures are over all seeds together.
"""

import sys

from results import write_result

from emotemporal.training.cross_validation import measure_cross_validation, read_cross_validation
from emotemporal.training.evaluation import coverage_report

_SHOWN = 0.5


def main(*folders: str) -> None:
    runs = [read_cross_validation(folder) for folder in folders]
    # Refuses runs that differ in more than the seed.
    measured = measure_cross_validation(runs)
    predictions = [prediction for run in runs for prediction in run.predictions]
    coverage = coverage_report(predictions, runs[0].aggregations)
    shown = next(row for row in coverage["head"] if row["min_confidence"] == _SHOWN)
    write_result(
        "java_sed_coverage",
        shown["coverage"],
        unit=f"share of {measured['num']} clips that keep a label at confidence {_SHOWN}, {len(runs)} seeds",
        details={
            "accuracy_of_kept": shown["accuracy"],
            "accuracy_of_all": {name: measured[name]["accuracy"] for name in coverage},
            "coverage": coverage,
            "protocol": measured["protocol"],
            "seeds": [run.seed for run in runs],
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
