"""What a search tries: settings drawn from lists and ranges, checked before anything runs."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from emotemporal.errors import UsageError
from emotemporal.training.config import ClipConfig, SearchConfig

# Trials must differ in how a head learns, not in what it is measured on.
_SEARCHABLE = ("head", "augmentation", "optim", "frame_weight", "correction_weight", "label_smoothing")
_RANGES = ("uniform", "log_uniform")


@dataclass(frozen=True)
class Trial:
    """One point of a search."""

    number: int
    """From 1, in the order in which they are drawn."""
    settings: Mapping[str, Any]
    """Dotted name -> value, of the searched settings."""
    config: ClipConfig
    """The whole training with them."""


def draw_trials(config: SearchConfig) -> list[Trial]:
    """Return what is to be tried: no settings twice, the first ones the same whatever their number.

    Fewer than `config.trials` come of lists that have no more combinations.

    Raises:
        UsageError: a name, a value, a range or a combination is none that a training takes.
    """
    types = setting_types()
    if not config.search:
        raise UsageError("search: names no setting; give some as in configs/search_java_sed.yaml")
    space = {name: _checked(name, values, types) for name, values in sorted(config.search.items())}
    ranged = [name for name, values in space.items() if isinstance(values, Mapping)]
    if config.method == "grid" and ranged:
        raise UsageError(
            f"search.{ranged[0]}: a grid needs a list of values, not a range; or use method random"
        )
    if config.method == "grid":
        points: Iterator[tuple[Any, ...]] = itertools.product(*space.values())
    else:
        points = _random_points(config, space, types)
    trials = []
    for number, point in enumerate(itertools.islice(points, config.trials), start=1):
        settings = dict(zip(space, point, strict=True))
        trials.append(Trial(number, settings, _with_settings(config, settings)))
    return trials


def setting_types() -> dict[str, Any]:
    """Return dotted name -> type of every setting that can be searched."""
    found: dict[str, Any] = {}
    hints = get_type_hints(ClipConfig)
    for name in _SEARCHABLE:
        if is_dataclass(hints[name]):
            found |= {f"{name}.{inner}": hint for inner, hint in get_type_hints(hints[name]).items()}
        else:
            found[name] = hints[name]
    return found


def _checked(name: str, values: Any, types: Mapping[str, Any]) -> list[Any] | dict[str, tuple[float, float]]:
    """Return values of a setting's own type, or its range."""
    if name not in types:
        if name.partition(".")[0] in {field.name for field in fields(SearchConfig)} - set(_SEARCHABLE):
            raise UsageError(
                f"search.{name}: cannot be searched, only {', '.join(_SEARCHABLE)} and what is in them can"
            )
        near = get_close_matches(name, types, n=1, cutoff=0)[0]
        raise UsageError(f"search.{name}: there is no such setting; did you mean {near}?")
    if isinstance(values, Mapping):
        return _checked_range(name, values, types[name])
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise UsageError(f"search.{name}: expected a list of values or a range, found {values!r}")
    found = [_typed(name, value, types[name]) for value in values]
    # A value that is listed twice would be drawn for ever in search of another.
    return list(dict.fromkeys(found))


def _checked_range(name: str, values: Mapping[str, Any], hint: Any) -> dict[str, tuple[float, float]]:
    if len(values) != 1 or next(iter(values)) not in _RANGES or hint not in (int, float):
        allowed = f"a list or a range ({' or '.join(_RANGES)})" if hint in (int, float) else "a list"
        raise UsageError(f"search.{name}: expected {allowed}, found {dict(values)!r}")
    ((kind, ends),) = values.items()
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        raise UsageError(f"search.{name}: {kind} needs [low, high], found {ends!r}")
    low, high = (_typed(name, end, hint) for end in ends)
    if not low < high or (kind == "log_uniform" and low <= 0):
        above = "0 < low < high" if kind == "log_uniform" else "low < high"
        raise UsageError(f"search.{name}: {kind} needs {above}, found {low}, {high}")
    return {kind: (low, high)}


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a value of a setting's type; a whole number is a float, too, and 1e-3 is no text."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise UsageError(f"search.{name}: {value!r} is none of {', '.join(map(str, get_args(hint)))}")
    if hint is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif type(value) is hint:
        return value
    raise UsageError(f"search.{name}: {value!r} is no {hint.__name__}")


def _random_points(
    config: SearchConfig, space: Mapping[str, Any], types: Mapping[str, Any]
) -> Iterator[tuple[Any, ...]]:
    rng = np.random.default_rng(config.search_seed)
    num_values = [_num_values(values, whole=types[name] is int) for name, values in space.items()]
    seen: set[tuple[Any, ...]] = set()
    while len(seen) < math.prod(num_values):
        point = tuple(_draw(values, rng, whole=types[name] is int) for name, values in space.items())
        if point not in seen:
            seen.add(point)
            yield point


def _num_values(values: Any, *, whole: bool) -> float:
    if not isinstance(values, Mapping):
        return len(values)
    ((low, high),) = values.values()
    return high - low + 1 if whole else math.inf


def _draw(values: Any, rng: np.random.Generator, *, whole: bool) -> Any:
    if not isinstance(values, Mapping):
        return values[int(rng.integers(len(values)))]
    ((kind, (low, high)),) = values.items()
    # Every whole number has an interval of its own, as wide for the ends as for the others.
    first, last = (low - 0.5, high + 0.5) if whole else (low, high)
    if kind == "log_uniform":
        drawn = math.exp(rng.uniform(math.log(first), math.log(last)))
    else:
        drawn = float(rng.uniform(first, last))
    # Six digits are enough to tell trials apart, and can be typed again.
    return min(max(round(drawn), low), high) if whole else float(f"{drawn:.6g}")


def _with_settings(config: SearchConfig, settings: Mapping[str, Any]) -> ClipConfig:
    """Return the training with these settings.

    Raises:
        UsageError: they do not go together.
    """
    base = ClipConfig(**{field.name: getattr(config, field.name) for field in fields(ClipConfig)})
    groups: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, _, inner = name.rpartition(".")
        groups.setdefault(group, {})[inner] = value
    try:
        changes = groups.pop("", {})
        changes |= {group: replace(getattr(base, group), **inner) for group, inner in groups.items()}
        return replace(base, **changes)
    except ValueError as error:
        told = ", ".join(f"{name} {value}" for name, value in settings.items())
        raise UsageError(f"search: {error} (with {told})") from error
