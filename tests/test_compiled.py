"""Compiled networks are kept, and only what is whole is used."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from emotemporal.compiled import cache_folder, compile_network
from emotemporal.errors import UsageError

BATCH = np.arange(6, dtype=np.float32).reshape(2, 3)


class Doubling(torch.nn.Module):
    def forward(self, x):
        return 2 * x, x.sum(1)


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Return a function that compiles the network and tells how often it was built until now."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("EMOTEMPORAL_CACHE", str(tmp_path / "cache"))
    built = []

    def make_module():
        built.append(1)
        return Doubling()

    def get(identity="weights"):
        network = compile_network(
            "doubling", identity, make_module, examples=lambda: [torch.zeros(2, 3)], input_shapes=[(-1, 3)]
        )
        doubled, total = network(BATCH)
        np.testing.assert_array_equal(doubled, 2 * BATCH)
        np.testing.assert_array_equal(total, BATCH.sum(1))
        return len(built)

    return get


def test_it_is_compiled_once_for_each_identity(compiled):
    assert [compiled(), compiled(), compiled("others"), compiled("others")] == [1, 1, 2, 2]


def test_nothing_is_kept_of_what_has_no_identity(compiled, tmp_path):
    assert [compiled(""), compiled("")] == [1, 2]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", [lambda old: old[:-1], lambda old: b"", lambda old: b"x" + old[1:]])
def test_a_damaged_file_is_made_anew(compiled, tmp_path, change):
    compiled()
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    # It is whole again, and used.
    assert [compiled(), compiled()] == [2, 2]


def test_a_whole_file_of_something_else_is_made_anew(compiled, tmp_path):
    compiled()
    (path,) = (tmp_path / "cache").iterdir()
    body = b"not a network"
    path.write_bytes(hashlib.sha256(body).digest() + body)
    assert [compiled(), compiled()] == [2, 2]


def test_a_folder_that_cannot_be_made_only_costs_time(compiled, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert [compiled(), compiled()] == [1, 2]


def test_the_folder_is_the_users_own(monkeypatch):
    monkeypatch.delenv("EMOTEMPORAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder()) == "/somewhere/emotemporal"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(cache_folder()) == "/home/someone/.cache/emotemporal"


def test_a_missing_openvino_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'emotemporal\[openvino\]'"):
        compile_network("any", "", Doubling, examples=lambda: [torch.zeros(1)], input_shapes=[(-1,)])


def test_only_the_user_can_write_what_is_kept(compiled, tmp_path):
    compiled()
    (path,) = (tmp_path / "cache").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_could_have_written_is_made_anew(compiled, tmp_path, mode):
    compiled()
    (path,) = (tmp_path / "cache").iterdir()
    path.chmod(mode)
    assert [compiled(), compiled()] == [2, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_another_user_has_written_is_not_read(compiled, tmp_path, monkeypatch):
    compiled()
    me = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: me + 1)
    assert compiled() == 2
    first, second = (tmp_path / "cache").iterdir()
    # Nor where it bears the name of one's own.
    monkeypatch.setattr("emotemporal.compiled._cache_path", lambda *_: first)
    assert compiled() == 3
    assert second.exists()


_COME_AND_GO = """
import faulthandler, signal
import torch
from emotemporal.compiled import compile_network

# A stack for signals is there already, as in a program with a handler of its own.
faulthandler.enable()
shape = dict(examples=lambda: [torch.zeros(2, 3)], input_shapes=[(-1, 3)])
networks = [compile_network("gone", "", torch.nn.Tanh, **shape) for _ in range(3)]
while networks:
    networks.pop(0)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("borne")
"""


def test_a_signal_is_borne_when_networks_have_come_and_gone():
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", _COME_AND_GO], capture_output=True, text=True, check=False)
    assert done.stdout == "borne\n", (done.returncode, done.stderr)
