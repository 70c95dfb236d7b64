"""A search tries what it was told, measures as a training does, and runs nothing twice."""

import csv
import json
from dataclasses import replace

import pytest

from emotemporal.cli.search_clip import main
from emotemporal.errors import DataError, TrainingError, UsageError
from emotemporal.models.specs import HeadSpec
from emotemporal.training import search
from emotemporal.training.clip import train_clip
from emotemporal.training.config import ClipConfig, OptimConfig, RunConfig, SearchConfig
from emotemporal.training.space import draw_trials, setting_types


def make_config(toy_store, frame_checkpoint, folder, **changes) -> SearchConfig:
    settings = {
        "store": toy_store,
        "frame_checkpoint": frame_checkpoint,
        "head": HeadSpec(kind="gru", width=8),
        "optim": OptimConfig(epochs=3, batch_size=4, optimizer="adamw", lr=0.01, ema_decay=0.5),
        "run": RunConfig(folder=folder, precision="32-true", accelerator="cpu"),
        "search": {"head.width": [4, 8], "optim.schedule": ["cosine", "constant"]},
        "method": "grid",
    }
    return SearchConfig(**(settings | changes))


def run(config, lines=None):
    on_line = (lambda line: None) if lines is None else lines.append
    return search.search_clip(config, draw_trials(config), on_line=on_line)


def test_a_trial_measures_what_a_training_does(toy_store, frame_checkpoint, tmp_path):
    config = make_config(toy_store, frame_checkpoint, tmp_path / "search")
    trials = draw_trials(config)
    assert [trial.settings for trial in trials] == [
        {"head.width": width, "optim.schedule": schedule}
        for width in (4, 8)
        for schedule in ("cosine", "constant")
    ]
    result = run(config)
    accuracies = [trial.accuracy for trial in result.trials]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {trial.number for trial in result.trials} == {1, 2, 3, 4}
    of_trial = next(trial for trial in result.trials if trial.number == 2)
    alone = replace(trials[1].config, run=replace(config.run, folder=tmp_path / "alone"))
    assert isinstance(alone, ClipConfig)
    assert (alone.head.width, alone.optim.schedule) == (4, "constant")
    train_clip(alone, on_line=lambda line: None)
    report = json.loads((tmp_path / "alone" / "report.json").read_text())["aggregations"]
    for name, value in of_trial.measures.items():
        assert value == pytest.approx(report["head"][name], abs=1e-9)
    assert list(of_trial.interval) == report["head"]["interval"]
    assert result.sum_accuracy == pytest.approx(report["sum"]["accuracy"])
    with (tmp_path / "search" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["accuracy"]) for row in rows] == accuracies
    assert {(row["head.width"], row["optim.schedule"]) for row in rows} == {
        (width, schedule) for width in ("4", "8") for schedule in ("cosine", "constant")
    }


def test_a_finished_trial_is_never_run_again(toy_store, frame_checkpoint, tmp_path, monkeypatch):
    whole = run(make_config(toy_store, frame_checkpoint, tmp_path / "whole"))
    config = make_config(toy_store, frame_checkpoint, tmp_path / "broken")
    seen = []
    cross_validate = search.cross_validate

    def killed(config, *arguments, **options):
        seen.append(config.head.width)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return cross_validate(config, *arguments, **options)

    monkeypatch.setattr(search, "cross_validate", killed)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    again = run(config)
    assert seen == [4, 4, 8, 8, 8]
    assert [(t.number, t.measures) for t in again.trials] == [(t.number, t.measures) for t in whole.trials]
    with pytest.raises(UsageError, match=r"other search\.head\.width"):
        run(replace(config, search={"head.width": [4]}))


def test_a_search_can_be_made_longer(toy_store, frame_checkpoint, tmp_path, monkeypatch):
    drawn = {"search": {"optim.lr": {"log_uniform": ["1e-3", 0.1]}}, "method": "random", "trials": 1}
    config = make_config(toy_store, frame_checkpoint, tmp_path, **drawn)
    run(config)
    longer = replace(config, trials=3)
    assert draw_trials(longer)[0] == draw_trials(config)[0]
    seen = []
    cross_validate = search.cross_validate

    def watched(config, *rest, **options):
        seen.append(config)
        return cross_validate(config, *rest, **options)

    monkeypatch.setattr(search, "cross_validate", watched)
    assert len(run(longer).trials) == 3
    assert seen == [trial.config for trial in draw_trials(longer)[1:]]


def test_a_training_that_breaks_down_is_a_failed_trial(toy_store, frame_checkpoint, tmp_path, monkeypatch):
    config = make_config(toy_store, frame_checkpoint, tmp_path)
    cross_validate = search.cross_validate

    def diverging(config, *rest, **options):
        if config.head.width == 4:
            raise TrainingError("loss nan")
        return cross_validate(config, *rest, **options)

    monkeypatch.setattr(search, "cross_validate", diverging)
    result = run(config)
    assert [trial.error for trial in result.trials] == ["", "", "loss nan", "loss nan"]


def test_only_the_people_named_are_seen(toy_store, frame_checkpoint, tmp_path):
    config = make_config(toy_store, frame_checkpoint, tmp_path, subjects=["ann", "cid"])
    with pytest.raises(DataError, match="no clips of subjects cid, only of ann, bob"):
        run(config)
    with pytest.raises(DataError, match="at least 2, found 1"):
        run(replace(config, subjects=["ann"]))


def test_the_report_of_a_file_and_flags(toy_store, frame_checkpoint, tmp_path, capsys):
    config = tmp_path / "search.yaml"
    config.write_text(
        f"store: {toy_store}\nframe_checkpoint: {frame_checkpoint}\nmethod: grid\n"
        "optim: {epochs: 1, batch_size: 4}\nhead: {kind: gru, width: 4}\n"
        "search:\n  optim.lr: [1e-3, 0.01]\n  head.dropout: [0, 0.5]\n"
        f"run: {{folder: {tmp_path / 'run'}, accelerator: cpu}}\n"
    )
    assert main(["--config", str(config), "--subjects", '["ann", "bob"]', "--trials", "3"]) == 0
    printed = capsys.readouterr().out
    assert "is optimistic" in printed
    assert "chosen among 3 on these very clips" in printed
    assert "best: --head.dropout 0.0 --optim.lr 0.0" in printed or "best: --head.dropout 0.5" in printed
    assert len((tmp_path / "run" / "trials.csv").read_text().splitlines()) == 4


def test_draws_stay_within_their_ranges_and_differ():
    space = {
        "head.width": {"log_uniform": [4, 64]},
        "head.dropout": {"uniform": [0.2, 0.4]},
        "augmentation.max_stride": {"uniform": [1, 3]},
    }
    config = SearchConfig(search=space, trials=300)
    trials = draw_trials(config)
    widths = [trial.settings["head.width"] for trial in trials]
    assert {type(width) for width in widths} == {int}
    assert (min(widths), max(widths)) == (4, 64)
    # Half of them below the geometric middle.
    assert 120 < sum(width < 16 for width in widths) < 180
    assert all(0.2 <= trial.settings["head.dropout"] <= 0.4 for trial in trials)
    assert {trial.settings["augmentation.max_stride"] for trial in trials} == {1, 2, 3}
    assert draw_trials(config) == trials
    assert draw_trials(replace(config, search_seed=1)) != trials


def test_no_settings_are_tried_twice():
    config = SearchConfig(search={"head.width": [8, 8, 16], "head.num_layers": {"uniform": [1, 2]}}, trials=9)
    found = [tuple(trial.settings.values()) for trial in draw_trials(config)]
    assert sorted(found) == [(1, 8), (1, 16), (2, 8), (2, 16)]


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ({}, "names no setting"),
        ({"head.widht": [8]}, r"search\.head\.widht: there is no such setting; did you mean head\.width\?"),
        ({"run.seed": [1, 2]}, r"search\.run\.seed: cannot be searched"),
        ({"store": ["a"]}, r"search\.store: cannot be searched"),
        ({"head.width": 8}, "expected a list of values or a range, found 8"),
        ({"head.width": []}, "expected a list of values or a range"),
        ({"head.width": [8.5]}, r"8\.5 is no int"),
        ({"head.width": [True]}, "True is no int"),
        ({"optim.lr": ["fast"]}, "'fast' is no float"),
        ({"augmentation.mirror": [1]}, "1 is no bool"),
        ({"head.kind": ["lstm"]}, "'lstm' is none of gru, bigru, transformer"),
        ({"head.kind": {"uniform": [0, 1]}}, "expected a list, found"),
        ({"optim.lr": {"normal": [0, 1]}}, "expected a list or a range"),
        ({"optim.lr": {"uniform": [1]}}, r"uniform needs \[low, high\]"),
        ({"optim.lr": {"uniform": [2, 1]}}, "uniform needs low < high, found 2.0, 1.0"),
        ({"optim.lr": {"log_uniform": [0, 1]}}, "log_uniform needs 0 < low < high"),
        ({"optim.lr": [0.1, -1]}, r"lr must be positive, found -1.0 \(with optim\.lr -1\.0\)"),
        ({"head.kind": ["transformer"], "head.width": [10]}, "10 is no multiple of 4 attention heads"),
    ],
)
def test_what_cannot_be_searched_is_one_line(space, text):
    with pytest.raises(UsageError, match=text) as caught:
        draw_trials(SearchConfig(search=space))
    assert "\n" not in str(caught.value)


def test_a_grid_takes_no_ranges():
    space = {"optim.lr": {"uniform": [0.1, 0.2]}}
    with pytest.raises(UsageError, match=r"search\.optim\.lr: a grid needs a list"):
        draw_trials(SearchConfig(search=space, method="grid"))


@pytest.mark.parametrize("protocol", ["none", "train-validation"])
def test_a_search_holds_people_out(protocol):
    with pytest.raises(ValueError, match=f"protocol {protocol}"):
        SearchConfig(protocol=protocol)


def test_every_setting_of_a_head_can_be_searched():
    types = setting_types()
    assert {"head.kind", "optim.schedule", "augmentation.mirror", "frame_weight"} <= set(types)
    assert not any(name.startswith("run.") for name in types)
