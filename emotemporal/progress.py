"""How far a long task has come, told to whoever wants to show it."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the stage's name, the frames done, and their number where it is known."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Report progress to nobody."""
