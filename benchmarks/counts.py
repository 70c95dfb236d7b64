"""Counts of single clips or scenes that add up to those of all."""

from dataclasses import dataclass, fields
from typing import Self


@dataclass(eq=False)
class Counts:
    """Numbers and lists; those of several are the sum of each field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))
