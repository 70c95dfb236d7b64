"""What a user names to be labelled: tables of videos besides the videos themselves."""

import csv
from pathlib import Path

import pytest

from emotemporal.batch.inputs import holds_videos, list_jobs


def write_table(path: Path, *rows: tuple[str, ...]) -> str:
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows(rows)
    return str(path)


def test_a_table_lists_videos_from_its_own_folder_each_once(tmp_path):
    folder = tmp_path / "of tables"
    folder.mkdir()
    table = write_table(
        folder / "list.CSV",
        ("label", " File ", "subject"),
        ("happy", "a.mp4", "1"),
        ("", "deep/b.mp4", ""),
        ("sad", "a.mp4", "2"),
        ("", ""),
        ("too short",),
    )
    jobs, failures = list_jobs([table, str(folder / "a.mp4")])
    assert failures == {}
    assert [job.video for job in jobs] == [folder / "a.mp4", folder / "deep" / "b.mp4"]
    assert holds_videos(table)
    assert not holds_videos("https://host/list.csv")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no column named path or file or video, found "),
        (b"name,label\na.mp4,happy\n", "no column named path or file or video, found name, label"),
        (b"path\n\n", "lists no videos"),
        (b"path\n\xff\xfe\n", "not a csv table"),
    ],
)
def test_a_table_that_lists_nothing_is_one_failure(tmp_path, content, why):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    jobs, failures = list_jobs([str(path)])
    assert jobs == []
    assert list(failures) == [str(path)]
    assert failures[str(path)].startswith(f"{path}: {why}")


def test_an_address_in_a_table_is_not_fetched(tmp_path):
    table = write_table(tmp_path / "list.csv", ("path",), ("https://host/a.mp4",))
    (job,), _ = list_jobs([table])
    assert job.video == tmp_path / "https:/host/a.mp4"
