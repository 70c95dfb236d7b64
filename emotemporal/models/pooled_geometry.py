"""Clip emotions from 68 landmarks: of a stranger, or told against other clips of the person."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emotemporal.models.baseline import PersonalBaseline
from emotemporal.models.linear import LinearAverage
from emotemporal.models.pooled import AVERAGED, feature_blocks

_BLOCK_OF_MAP = {name: block for name, (block, _) in AVERAGED.items()}


@dataclass(frozen=True, eq=False)
class GeometryModel:
    """Two averages of linear models, and what the second needs to know of people."""

    stranger: LinearAverage
    """Of clips whose person is not known."""
    personal: LinearAverage
    """Of clips told against what is usual for the person."""
    typical_spread: Mapping[str, np.ndarray]
    """Block -> float (D,), how much the features of one person's clips usually vary."""

    def predict_probs(self, pooled: np.ndarray, baseline: np.ndarray | None = None) -> np.ndarray:
        """Label clips.

        Args:
            pooled: (2, N, D), from `pool_landmarks`.
            baseline: (2, K, D), other clips of the same person; None for strangers.
        Returns: float64 (N, C), rows sum to 1.
        """
        blocks = feature_blocks(pooled)
        if baseline is None:
            return self.stranger.predict_probs(blocks)
        usual = feature_blocks(baseline)
        return self.personal.predict_probs(
            {
                name: PersonalBaseline.of_clips(usual[name], self.typical_spread[name]).apply(features)
                for name, features in blocks.items()
            }
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return every number, float32, by name."""
        arrays = {f"typical_spread.{name}": spread for name, spread in self.typical_spread.items()}
        for name, average in (("stranger", self.stranger), ("personal", self.personal)):
            arrays |= {f"{name}.{key}": value for key, value in average.to_arrays().items()}
        return {name: np.asarray(value, np.float32) for name, value in arrays.items()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], temperatures: Mapping[str, float]
    ) -> "GeometryModel":
        """Rebuild from what `to_arrays` gave.

        Raises:
            KeyError, ValueError: arrays are missing, or their shapes do not fit each other.
        """

        def below(prefix: str) -> dict[str, np.ndarray]:
            return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

        averages = {
            name: LinearAverage.from_arrays(below(f"{name}."), _BLOCK_OF_MAP, temperature=temperatures[name])
            for name in ("stranger", "personal")
        }
        spread = below("typical_spread.")
        for average in averages.values():
            for name, one in average.maps.items():
                if spread[_BLOCK_OF_MAP[name]].shape != one.mean.shape:
                    raise ValueError(f"typical_spread.{_BLOCK_OF_MAP[name]} does not fit {name}")
        return cls(**averages, typical_spread=spread)
