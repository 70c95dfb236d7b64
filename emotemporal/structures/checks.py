"""Checks that the data types make of their fields."""

import numpy as np


def require(condition: bool, owner: object, text: str) -> None:
    if not condition:
        raise ValueError(f"{type(owner).__name__}: {text}")


def require_array(owner: object, name: str, dtype: type | str, shape: tuple[int | None, ...]) -> None:
    """Check dtype and shape of an array field; None in `shape` stands for any length."""
    value = getattr(owner, name)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(owner).__name__}.{name} must be a NumPy array, found {type(value).__name__}")
    fits = value.ndim == len(shape) and all(
        want is None or got == want for got, want in zip(value.shape, shape, strict=True)
    )
    require(fits, owner, f"{name} must have shape {shape}, found {value.shape}")
    require(value.dtype == np.dtype(dtype), owner, f"{name} must be {np.dtype(dtype)}, found {value.dtype}")


def require_increasing(owner: object, name: str) -> None:
    value = getattr(owner, name)
    require(bool(np.all(np.diff(value) > 0)), owner, f"{name} must be strictly increasing")
