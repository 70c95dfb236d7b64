"""What the staged sequences show: each scenario for any size, length and seed."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from staged_faces import FPS, Portrait, Pose, Scene, Stage

Poses = Callable[[int], list[Pose]]
Scenes = Callable[[int], Scene]
Script = Callable[[np.random.Generator, int, int, int], tuple[Poses, Scenes]]
"""Takes a generator, the width, height and number of frames."""


def _sway(rng: np.random.Generator, reach: float) -> Callable[[int], float]:
    """A slow to and fro about 0, up to `reach`, with a period of 2 to 4 seconds."""
    period, phase = rng.uniform(2, 4) * FPS, rng.uniform(0, 2 * math.pi)
    return lambda i: reach * math.sin(2 * math.pi * i / period + phase)


def _standing(
    rng: np.random.Generator, person: int, x: float, y: float, size: float
) -> Callable[[int], Pose]:
    """Someone who sways a little about a place, and turns the head by some degrees."""
    across, along, turn = _sway(rng, 0.15 * size), _sway(rng, 0.08 * size), _sway(rng, 6)
    return lambda i: Pose(person, x + across(i), y + along(i), size, turn(i))


def _still(rng: np.random.Generator) -> Callable[[int], Scene]:
    number = int(rng.integers(100))
    return lambda i: Scene(number)


def _none(rng, width, height, num):
    drift, number = _sway(rng, 0.05 * width), int(rng.integers(100))
    return lambda i: [], lambda i: Scene(number, (drift(i), 0.0))


def _comes_and_goes(rng, width, height, num):
    """Away for a fifth of a second, then for more than the longest gap that one id survives.

    Nobody appears at once in a real film: a larger face would be a cut on a dark background.
    """
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.2 * height)
    begin = int(rng.integers(3, 10))
    short = begin + num // 4
    long = short + 5 + num // 6
    back = long + 15

    def poses(i):
        return [who(i)] if begin <= i < short or short + 5 <= i < long or i >= back else []

    return poses, _still(rng)


def _crossing(rng, width, height, num):
    first, second = rng.permutation(4)[:2]
    size = 0.28 * height
    drop = rng.uniform(0.1, 0.4) * size

    def poses(i):
        way = (i / (num - 1) - 0.5) * 0.7 * width
        behind = Pose(int(first), 0.5 * width - way, 0.5 * height - drop / 2, 0.9 * size)
        return [behind, Pose(int(second), 0.5 * width + way, 0.5 * height + drop / 2, size)]

    return poses, _still(rng)


def _leaving(rng, width, height, num):
    person, size = int(rng.integers(4)), 0.3 * height
    sway = _sway(rng, 0.05 * size)

    def poses(i):
        x = (0.4 + 0.9 * i / (num - 1)) * width
        return [Pose(person, x, 0.5 * height + sway(i), size)] if x < width + 1.2 * size else []

    return poses, _still(rng)


def _half_outside(rng, width, height, num):
    size, at_left = 0.4 * height, rng.random() < 0.5
    who = _standing(
        rng, int(rng.integers(4)), 0.05 * size if at_left else width - 0.05 * size, 0.5 * height, size
    )
    return lambda i: [who(i)], _still(rng)


def _hundred(rng, width, height, num):
    size = 0.052 * height
    people = [
        _standing(rng, 10 * row + column, (column + 0.5) * width / 10, (row + 0.5) * height / 10, size)
        for row in range(10)
        for column in range(10)
    ]
    return lambda i: [who(i) for who in people], _still(rng)


def _tiny(rng, width, height, num):
    person, drift = int(rng.integers(4)), rng.uniform(-0.2, 0.2) * width
    sway = _sway(rng, 4)
    return lambda i: [Pose(person, 0.5 * width + drift * i / num, 0.5 * height + sway(i), 20.0)], _still(rng)


def _filling(rng, width, height, num):
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.85 * height)
    return lambda i: [who(i)], _still(rng)


def _upside_down(rng, width, height, num):
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.4 * height)
    return lambda i: [who(i)._replace(turn_degrees=180.0)], _still(rng)


def _mask(rng, width, height, num):
    """Put on in the middle."""
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.4 * height)
    return lambda i: [who(i)._replace(cover="mask" if i >= num // 2 else "")], _still(rng)


def _hand(rng, width, height, num):
    """Before the face for a third of a second."""
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.4 * height)
    begin = int(rng.integers(num // 3, num // 2))
    return lambda i: [who(i)._replace(cover="hand" if begin <= i < begin + 8 else "")], _still(rng)


def _swapped(rng, width, height, num):
    """A cut to the other side: both stand where the other stood."""
    first, second = rng.permutation(4)[:2]
    places = (0.3 * width, 0.7 * width)
    size = 0.35 * height
    pairs = [
        [_standing(rng, int(person), x, 0.5 * height, size) for person, x in zip(order, places, strict=True)]
        for order in ((first, second), (second, first))
    ]
    cut, number = int(rng.integers(num // 3, 2 * num // 3)), int(rng.integers(100))
    return lambda i: [who(i) for who in pairs[i >= cut]], lambda i: Scene(number + (i >= cut))


def _shake(rng, width, height, num):
    first, second = rng.permutation(4)[:2]
    pair = [
        _standing(rng, int(person), x * width, 0.5 * height, 0.3 * height)
        for person, x in ((first, 0.3), (second, 0.7))
    ]
    shifts = rng.normal(0, 0.02 * width, (num, 2))
    number = int(rng.integers(100))
    return lambda i: [who(i) for who in pair], lambda i: Scene(number, (shifts[i, 0], shifts[i, 1]))


def _approach(rng, width, height, num):
    person, near = int(rng.integers(4)), 0.75 * height
    return lambda i: [
        Pose(person, 0.5 * width, 0.5 * height, 22.0 * (near / 22.0) ** (i / (num - 1)))
    ], _still(rng)


def _hidden_start(rng, width, height, num):
    """Each of two shots begins with the face behind a hand."""
    first, second = rng.permutation(4)[:2]
    ways = [
        _standing(rng, int(person), x * width, 0.5 * height, 0.35 * height)
        for person, x in ((first, 0.4), (second, 0.6))
    ]
    cut, hidden, number = num // 2, int(rng.integers(1, 4)), int(rng.integers(100))

    def poses(i):
        since = i - cut if i >= cut else i
        return [ways[i >= cut](i)._replace(cover="hand" if since < hidden else "")]

    return poses, lambda i: Scene(number + (i >= cut))


def _tilted(rng, width, height, num):
    """The head tilts to the shoulder, farther than the full detector sees it, and comes back."""
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.35 * height)
    most = float(rng.choice([-1, 1]) * rng.uniform(45, 75))

    def poses(i):
        return [who(i)._replace(turn_degrees=most * math.sin(math.pi * min(1.1 * i / num, 1)) ** 2)]

    return poses, _still(rng)


def _late_hand(rng, width, height, num):
    """Someone comes between two key frames, and a hand is before the face for a moment soon after."""
    length = int(rng.integers(1, 6))
    who = _standing(rng, int(rng.integers(4)), 0.5 * width, 0.5 * height, 0.35 * height)
    begin = 12 * int(rng.integers(1, max(num // 12 - 2, 2))) + 2
    hidden = begin + int(rng.integers(2, 5))

    def poses(i):
        return [who(i)._replace(cover="hand" if hidden <= i < hidden + length else "")] if i >= begin else []

    return poses, _still(rng)


SCENARIOS: dict[str, Script] = {
    "none": _none,
    "comes_and_goes": _comes_and_goes,
    "crossing": _crossing,
    "leaving": _leaving,
    "half_outside": _half_outside,
    "hundred": _hundred,
    "tiny": _tiny,
    "filling": _filling,
    "upside_down": _upside_down,
    "mask": _mask,
    "hand": _hand,
    "swapped": _swapped,
    "shake": _shake,
    "approach": _approach,
    "hidden_start": _hidden_start,
    "late_hand": _late_hand,
    "tilted": _tilted,
}


def make_stage(
    name: str, seed: int, portraits: Sequence[Portrait], *, width: int, height: int, num_frames: int
) -> Stage:
    """Return a scenario; another seed is another background, and others on other paths.

    Args:
        name: of `SCENARIOS`.
        seed: from 0.
        portraits: of the people; person n is portrait n, beginning again after the last.
    """
    rng = np.random.default_rng([seed, list(SCENARIOS).index(name)])
    order = [portraits[i] for i in rng.permutation(len(portraits))]
    poses, scene = SCENARIOS[name](rng, width, height, num_frames)
    return Stage(name, width, height, num_frames, order, poses, scene, seed)
