"""Linear models of pooled statistics, each folded into one matrix, and their average.

Standardisation, principal components and classifier are all linear: what is left of them at use is one
matrix and one bias, and neither their library nor their files of objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import log_softmax, softmax

# Of a probability that has been rounded to nothing.
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class LinearMap:
    """From features to the logits of C classes."""

    mean: np.ndarray
    """float (D,), of the training clips."""
    scale: np.ndarray
    """float (D,), their standard deviation; 1 where they do not differ."""
    weight: np.ndarray
    """float (C, D), of the standardised features."""
    bias: np.ndarray
    """float (C,)."""

    def __post_init__(self) -> None:
        expected = {"mean": self.weight.shape[1:], "scale": self.weight.shape[1:]}
        for name, shape in (expected | {"bias": self.weight.shape[:1]}).items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, found {getattr(self, name).shape}")

    def predict_probs(self, features: np.ndarray) -> np.ndarray:
        """(..., D) -> float64 (..., C), rows sum to 1."""
        return softmax((features - self.mean) / self.scale @ self.weight.T + self.bias, axis=-1)


@dataclass(frozen=True, eq=False)
class LinearAverage:
    """The mean belief of several maps, and how sure it may be."""

    maps: Mapping[str, LinearMap]
    """By name; each sees the features of its block."""
    blocks: Mapping[str, str]
    """Name of a map -> name of its block."""
    temperature: float = 1.0
    """Divides the logarithms of the mean probabilities."""

    def predict_probs(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Label clips.

        Args:
            features: block -> (V, N, D), each clip in V views, as it is and mirrored.
        Returns: float64 (N, C), the mean over maps and views, tempered.
        """
        found = [
            one.predict_probs(features[self.blocks[name]]).mean(axis=0) for name, one in self.maps.items()
        ]
        return temper_probs(np.mean(found, axis=0), self.temperature)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return every number, float32, by `<map>.<field>`."""
        return {
            f"{name}.{field.name}": getattr(one, field.name).astype(np.float32)
            for name, one in self.maps.items()
            for field in fields(LinearMap)
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], blocks: Mapping[str, str], *, temperature: float
    ) -> "LinearAverage":
        """Rebuild from what `to_arrays` gave.

        Raises:
            KeyError, ValueError: arrays are missing, or their shapes do not fit each other.
        """
        maps = {}
        for name in blocks:
            parts = {field.name: arrays[f"{name}.{field.name}"] for field in fields(LinearMap)}
            maps[name] = LinearMap(**{key: np.asarray(part, np.float64) for key, part in parts.items()})
        return cls(maps, blocks, temperature)


def temper_probs(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Sharpen or flatten probabilities, (N, C) -> (N, C), as a temperature does with logits."""
    return softmax(log_probs(probs) / temperature, axis=-1)


def log_probs(probs: np.ndarray) -> np.ndarray:
    """Return logarithms that stay finite, (N, C) -> (N, C)."""
    return log_softmax(np.log(np.maximum(probs, _TINY)), axis=-1)
