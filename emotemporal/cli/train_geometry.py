"""`emotemporal train-geometry`: train linear models on RAVDESS's landmarks."""

from collections.abc import Sequence

from emotemporal.cli.common import guarded, parse_settings
from emotemporal.training.config import GeometryTrainingConfig


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    description = "Measure linear models of 68 landmarks on actors held out, then train them on all."
    config = parse_settings("train-geometry", GeometryTrainingConfig, description, argv)
    from emotemporal.training.pooled_geometry import train_geometry

    path = train_geometry(config)
    print(f"checkpoint: {path}")
    return 0
