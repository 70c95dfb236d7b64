"""Text from outside stays one plain line, and keeps no secret."""

import pickle

import pytest

from emotemporal.errors import EmotemporalError, VideoError
from emotemporal.text import cell_text, media_name, one_line, printable, redacted

SECRET = "https://user:s3cret@host.example/a/clip.mp4?token=s3cret&x=1:2"


def test_line_breaks_and_commands_of_terminals_are_spelled_out():
    name = "a\n\x1b]0;owned\x07\x9b2J\u202egpj.\udcff.mp4"
    shown = printable(name)
    assert shown == r"a\n\x1b]0;owned\x07\x9b2J\u202egpj.\udcff.mp4"
    assert printable("é 笑顔 [red] $x$.mp4") == "é 笑顔 [red] $x$.mp4"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SECRET, "https://***@host.example/a/clip.mp4?***"),
        (f"{SECRET}: cannot be opened", "https://***@host.example/a/clip.mp4?***: cannot be opened"),
        ("rtsp://u:p@ss@cam:554/1", "rtsp://***@cam:554/1"),
        (f"'{SECRET}' and rtsp://k@c", "'https://***@host.example/a/clip.mp4?***' and rtsp://***@c"),
        ("https://host/a@b.mp4", "https://host/a@b.mp4"),
        ("who? me@home: a://b", "who? me@home: a://b"),
    ],
)
def test_addresses_keep_their_credentials_to_themselves(text, shown):
    assert redacted(text) == shown


def test_errors_are_one_line_without_secrets_in_another_process_too():
    error = VideoError(f"{SECRET}\nsecond: \x1b[31mred")
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert isinstance(one, EmotemporalError)
        assert str(one).isprintable()
        assert "s3cret" not in str(one)
    assert str(again) == str(error)
    assert one_line(str(error)) == str(error)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.mp4", "b.mp4"),
        (SECRET, "clip.mp4"),
        ("https://user:s3cret@host.example", "host.example"),
        ("https://user:s3cret@host.example/?token=a/b.mp4", "host.example"),
        ("https://[broken", "address"),
    ],
)
def test_the_name_of_an_address_is_neither_its_key_nor_its_question(path, name):
    assert media_name(path) == name


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_cell_is_a_formula(text):
    assert cell_text(text) == f"'{text}"
    assert cell_text(f"a{text}") == f"a{text}"
