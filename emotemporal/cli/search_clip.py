"""`emotemporal search-clip`: search settings of a temporal head."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emotemporal.cli.common import EXIT_FAILED, EXIT_OK, guarded, parse_settings
from emotemporal.training.config import SearchConfig
from emotemporal.training.space import draw_trials

if TYPE_CHECKING:
    from rich.table import Table

    from emotemporal.training.search import SearchResult


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    config = parse_settings(
        "search-clip",
        SearchConfig,
        "Search settings of a temporal head: each trial is measured on people held out in turn.",
        argv,
    )
    # Whatever is wrong with the settings is told before anything heavy is loaded.
    trials = draw_trials(config)

    from rich.console import Console

    from emotemporal.training.search import search_clip

    result = search_clip(config, trials)
    console = Console(soft_wrap=True)
    console.print(_table(result))
    for line in _lines(result):
        console.print(line, markup=False, highlight=False)
    print(f"trials: {config.run.folder / 'trials.csv'}")
    return EXIT_FAILED if all(trial.error for trial in result.trials) else EXIT_OK


def _table(result: "SearchResult") -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("trial", "accuracy", "95 %", "UAR", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    # One column for all of them: as many as are searched would not fit on 80 characters.
    table.add_column("settings", overflow="fold")
    for trial in result.trials:
        values = ("failed", "", "")
        if trial.interval is not None:
            low, high = trial.interval
            values = (
                f"{trial.accuracy:.1%}",
                f"{100 * low:.1f} - {100 * high:.1f}",
                f"{trial.measures['uar']:.1%}",
            )
        settings = ", ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
        table.add_row(str(trial.number), *values, f"{trial.seconds:.0f}", settings)
    return table


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _lines(result: "SearchResult") -> list[str]:
    best = result.trials[0]
    people = ", ".join(result.subjects)
    lines = [f"{result.num_clips} clips of {people}; summed without a head: {result.sum_accuracy:.1%}"]
    if best.error:
        return [*lines, "no trial succeeded; trials.csv says why"]
    flags = " ".join(f"--{name} {value}" for name, value in best.settings.items())
    kept_out = f"people kept out of it ({', '.join(result.others)})" if result.others else "other people"
    return [
        *lines,
        f"best: {flags}",
        f"The best accuracy is optimistic, because it was chosen among {len(result.trials)} on these very "
        f"clips: measure its settings on {kept_out}.",
    ]
