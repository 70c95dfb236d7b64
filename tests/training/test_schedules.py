"""Learning rates by name, computed by hand; runs from before the names go on."""

import json
import math

import pytest

from emotemporal.errors import UsageError
from emotemporal.training.config import OptimConfig, RunConfig
from emotemporal.training.engine import RunFolder, learning_rate, settings_of

NUM_STEPS = 10  # two of warm-up, eight of the schedule


def rates(schedule: str) -> list[float]:
    config = OptimConfig(lr=0.8, warmup_fraction=0.2, schedule=schedule)
    return [learning_rate(step, NUM_STEPS, config) for step in range(NUM_STEPS)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("step", [0.8, 0.8, 0.8, 0.8, 0.08, 0.08, 0.008, 0.008]),
        ("constant", [0.8] * 8),
    ],
)
def test_rates_by_name(schedule, expected):
    assert rates(schedule) == pytest.approx([0.4, 0.8, *expected], rel=1e-12)


def test_the_cosine_is_the_default_to_the_last_bit():
    half = math.sqrt(0.5)
    expected = [0.4, 0.8, 0.8, 0.4 * (1 + half), 0.4, 0.4 * (1 - half)]
    assert [rates("cosine")[i] for i in (0, 1, 2, 4, 6, 8)] == pytest.approx(expected, rel=1e-12)
    for step in range(2, NUM_STEPS):
        # The arithmetic of runs that were begun before there were others.
        assert rates("cosine")[step] == 0.8 * 0.5 * (1 + math.cos(math.pi * ((step - 2) / 8)))
    assert OptimConfig().schedule == "cosine"


def test_without_warm_up_the_first_step_is_at_the_peak():
    config = OptimConfig(lr=0.8, warmup_fraction=0.0, schedule="constant")
    assert [learning_rate(step, 3, config) for step in range(3)] == [0.8, 0.8, 0.8]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_run_from_before_schedules_had_names_was_a_cosine(tmp_path, schedule):
    run = RunConfig(folder=tmp_path)
    older = {"optim": settings_of(OptimConfig())}
    del older["optim"]["schedule"]
    RunFolder(run, older, {}).close()
    (tmp_path / "folds").mkdir()
    newer = {"optim": settings_of(OptimConfig(schedule=schedule))}
    if schedule == "cosine":
        RunFolder(run, newer, {}).close()
        assert json.loads((tmp_path / "config.json").read_text())["optim"]["schedule"] == "cosine"
    else:
        with pytest.raises(UsageError, match=r"other optim\.schedule"):
            RunFolder(run, newer, {})
