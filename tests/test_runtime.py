"""PyTorch is asked for devices only where there is a driver."""

import pytest
import torch

from emotemporal import runtime
from emotemporal.errors import UsageError
from emotemporal.runtime import choose_device


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "_NVIDIA_DRIVERS", ("libnot-there.so",))
    monkeypatch.setattr(runtime, "_AMD_DEVICE", tmp_path / "none")


def test_without_a_driver_pytorch_is_not_asked(no_driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("was asked"))
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="no CUDA device is present"):
        choose_device("cuda")


@pytest.mark.parametrize("kind", ["nvidia", "amd"])
def test_with_a_driver_pytorch_decides(no_driver, monkeypatch, tmp_path, kind):
    if kind == "nvidia":
        monkeypatch.setattr(runtime, "_NVIDIA_DRIVERS", ("libc.so.6",))
    else:
        (tmp_path / "none").touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
