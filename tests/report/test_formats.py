"""Every format, read back with other tools' own readers."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import webvtt
from praatio import textgrid
from pympi.Elan import Eaf

from emotemporal.errors import OutputError, UsageError
from emotemporal.labelling.statistics import segments_table
from emotemporal.labels import FER7
from emotemporal.report import formats
from emotemporal.report.formats import FORMATS
from emotemporal.structures import VideoAnalysis

HAPPY, SAD, NEUTRAL = (FER7.index(name) for name in ("happy", "sad", "neutral"))
# Person, onset, offset in seconds and emotion, at 25 frames a second; the video ends at 1.2 s.
TRUTH = [(1, 0.0, 0.4, "happy"), (1, 0.4, 0.8, "sad"), (2, 0.2, 1.2, "neutral")]


def probs_of(*parts: tuple[int, int]) -> np.ndarray:
    """Return probabilities of a label and a number of frames after another, each with 70 %."""
    rows = np.full((sum(num for _, num in parts), 7), 0.05, np.float32)
    rows[np.arange(len(rows)), np.repeat(*np.array(parts).T)] = 0.7
    return rows


@pytest.fixture
def analysis(make_analysis, make_person, tmp_path: Path) -> VideoAnalysis:
    people = (
        make_person(1, (10, 20, 50, 70), num_frames=20, probs=probs_of((HAPPY, 10), (SAD, 10))),
        make_person(2, (-6, 20, 34, 70), first_frame=5, num_frames=25, probs=probs_of((NEUTRAL, 25))),
    )
    return make_analysis(*people, num_frames=30, path=str(tmp_path / "é & <b>.mp4"))


def write(name: str, analysis: VideoAnalysis, folder: Path) -> Path:
    path = folder / f"a{FORMATS[name].suffix}"
    FORMATS[name].write(analysis, path)
    return path


def relabelled(analysis: VideoAnalysis, name: str) -> VideoAnalysis:
    """Return the analysis with another name for happy."""
    return replace(analysis, labels=tuple(name if x == "happy" else x for x in FER7))


def test_parquet_gives_the_dataframe_back(analysis, tmp_path: Path) -> None:
    read = pd.read_parquet(write("parquet", analysis, tmp_path), engine="pyarrow")
    pd.testing.assert_frame_equal(read, analysis.to_dataframe())
    assert read.track_id.dtype == "Int64"


def test_segments_csv_names_file_person_emotion_and_time(analysis, tmp_path: Path) -> None:
    read = pd.read_csv(write("segments", analysis, tmp_path))
    assert set(read.file) == {"é & <b>.mp4"}
    pd.testing.assert_frame_equal(
        read.drop(columns="file"), segments_table(analysis), atol=1e-6, check_dtype=False
    )
    rows = zip(read.track_id, read.onset_seconds, read.offset_seconds, read.emotion, strict=True)
    assert list(rows) == TRUTH


def test_elan_has_a_tier_for_each_person(analysis, tmp_path: Path) -> None:
    path = write("eaf", analysis, tmp_path)
    read = Eaf(str(path))
    assert sorted(read.get_tier_names()) == ["person 1", "person 2"]
    found = [
        (person, onset / 1000, offset / 1000, emotion)
        for person in (1, 2)
        for onset, offset, emotion in sorted(read.get_annotation_data_for_tier(f"person {person}"))
    ]
    assert found == TRUTH
    (media,) = read.get_linked_files()
    assert media["MEDIA_URL"].endswith("/%C3%A9%20%26%20%3Cb%3E.mp4")
    assert media["RELATIVE_MEDIA_URL"] == "./%C3%A9%20%26%20%3Cb%3E.mp4"
    assert media["MIME_TYPE"] == "video/mp4"
    # ELAN wants the slots in the order of time.
    slots = [int(slot.get("TIME_VALUE")) for slot in ElementTree.parse(path).iter("TIME_SLOT")]
    assert slots == sorted(set(slots))


def test_textgrid_fills_the_whole_time(analysis, tmp_path: Path) -> None:
    path = write("textgrid", analysis, tmp_path)
    read = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    assert (read.minTimestamp, read.maxTimestamp) == (0, 1.2)
    assert read.tierNames == ("person 1", "person 2")
    tiers = [[tuple(entry) for entry in read.getTier(name).entries] for name in read.tierNames]
    assert tiers[0] == [(0, 0.4, "happy"), (0.4, 0.8, "sad"), (0.8, 1.2, "")]
    assert tiers[1] == [(0, 0.2, ""), (0.2, 1.2, "neutral")]


@pytest.mark.parametrize("name", ["vtt", "srt"])
def test_captions_come_by_time_and_overlap(analysis, tmp_path: Path, name: str) -> None:
    path = write(name, analysis, tmp_path)
    captions = (webvtt.read if name == "vtt" else webvtt.from_srt)(str(path)).captions
    found = [(c.start_in_seconds + c.start_time.milliseconds / 1000, c.text) for c in captions]
    said = ["happy 70%", "neutral 70%", "sad 70%"]
    people = [1, 2, 1]
    if name == "vtt":
        assert [c.voice for c in captions] == [f"person {n}" for n in people]
    else:
        said = [f"person {n}: {text}" for n, text in zip(people, said, strict=True)]
    assert found == list(zip([0.0, 0.2, 0.4], said, strict=True))
    assert [str(c.end) for c in captions] == ["00:00:00.400", "00:00:01.200", "00:00:00.800"]


def test_coco_boxes_lie_within_the_picture(analysis, tmp_path: Path) -> None:
    document = json.loads(write("coco", analysis, tmp_path).read_text())
    assert [image["id"] for image in document["images"]] == list(range(1, 31))
    assert document["images"][3]["file_name"] == "é & <b>/000003.png"
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert list(names.values()) == list(FER7)
    boxes = pd.DataFrame(document["annotations"])
    assert boxes.id.is_unique
    assert set(boxes.image_id) <= {image["id"] for image in document["images"]}
    assert len(boxes) == 45
    first = boxes[boxes.track_id == 1]
    assert first.category_id.map(names).tolist() == ["happy"] * 10 + ["sad"] * 10
    assert first.iloc[0].bbox == [10, 20, 40, 50]
    assert (boxes.area == boxes.bbox.map(lambda box: box[2] * box[3])).all()
    # The other person's box begins 6 pixels before the picture.
    assert boxes[boxes.track_id == 2].iloc[0].bbox == [0, 20, 34, 50]


def test_statistics_are_json_without_nan(analysis, tmp_path: Path) -> None:
    document = json.loads(write("statistics", analysis, tmp_path).read_text(), parse_constant=pytest.fail)
    first, second = document["people"]
    assert first["emotions"]["sad"]["share"] == pytest.approx(0.5)
    assert first["emotions"]["fear"]["mean_intensity"] is None
    assert first["transitions"]["happy"]["sad"] == 1
    assert (first["num_segments"], second["num_segments"]) == (2, 1)
    assert sum(sum(row.values()) for row in second["transitions"].values()) == 0
    (pair,) = document["pairs"]
    assert pair["common_seconds"] == pytest.approx(0.6)
    assert (pair["same_seconds"], pair["lag_seconds"]) == (0, None)


def test_names_with_signs_of_the_format_come_back(analysis, tmp_path: Path) -> None:
    odd = relabelled(analysis, 'a "b" <i>& -->')
    read = Eaf(str(write("eaf", odd, tmp_path))).get_annotation_data_for_tier("person 1")
    assert sorted(read)[0][2] == 'a "b" <i>& -->'
    grid = textgrid.openTextgrid(str(write("textgrid", odd, tmp_path)), includeEmptyIntervals=False)
    assert grid.getTier("person 1").entries[0].label in ('a "b" <i>& -->', 'a ""b"" <i>& -->')
    assert '"a ""b"" <i>& -->"' in (tmp_path / "a.TextGrid").read_text()
    (first, *_) = webvtt.read(str(write("vtt", odd, tmp_path))).captions
    assert first.raw_text == '<v person 1>a "b" &lt;i&gt;&amp; --&gt; 70%</v>'
    assert len(webvtt.from_srt(str(write("srt", odd, tmp_path))).captions) == 3


def test_times_keep_the_containers_clock(make_analysis, make_person, tmp_path: Path) -> None:
    late = make_analysis(make_person(1, (0, 0, 9, 9), num_frames=5), num_frames=5)

    def shifted(seconds: float) -> VideoAnalysis:
        tracks = tuple(replace(track, pts_seconds=track.pts_seconds + seconds) for track in late.tracks)
        info = replace(late.info, start_seconds=seconds)
        return replace(late, pts_seconds=late.pts_seconds + seconds, tracks=tracks, info=info)

    (caption,) = webvtt.read(str(write("vtt", shifted(3661.852), tmp_path))).captions
    assert (str(caption.start), str(caption.end)) == ("01:01:01.852", "01:01:02.052")
    # Before 0 there is nothing to show.
    for name in ("eaf", "textgrid", "srt"):
        write(name, shifted(-0.1), tmp_path)
    (annotation,) = Eaf(str(tmp_path / "a.eaf")).get_annotation_data_for_tier("person 1")
    assert annotation == (0, 100, "happy")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)
    assert [tuple(entry) for entry in grid.getTier("person 1").entries] == [(0, 0.1, "happy")]


def test_a_video_without_faces_has_readable_files(make_analysis, tmp_path: Path) -> None:
    nobody = make_analysis(num_frames=50)
    paths = {name: write(name, nobody, tmp_path) for name in FORMATS}
    assert len(pd.read_parquet(paths["parquet"])) == 50
    assert list(pd.read_csv(paths["segments"]).columns)[:3] == ["file", "track_id", "emotion"]
    assert list(Eaf(str(paths["eaf"])).get_tier_names()) == []
    grid = textgrid.openTextgrid(str(paths["textgrid"]), includeEmptyIntervals=True)
    assert grid.tierNames == ("no face",)
    assert grid.maxTimestamp == 2
    assert webvtt.read(str(paths["vtt"])).captions == []
    assert paths["srt"].read_text() == ""
    assert json.loads(paths["coco"].read_text())["annotations"] == []
    assert json.loads(paths["statistics"].read_text())["people"] == []


@pytest.mark.parametrize("name", FORMATS)
def test_what_cannot_be_written_leaves_nothing(analysis, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        FORMATS[name].write(analysis, tmp_path / "missing" / "a")
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        FORMATS[name].write(analysis, target)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", [name for name, chosen in FORMATS.items() if chosen.timed])
def test_a_picture_has_no_time(make_analysis, tmp_path: Path, name: str) -> None:
    picture = make_analysis(path="a.png")
    still = replace(picture, info=replace(picture.info, is_still=True, duration_seconds=0.0))
    with pytest.raises(UsageError, match=r"a.png: .* a picture has no time"):
        FORMATS[name].write(still, tmp_path / "a")


def test_parquet_says_what_it_lacks(monkeypatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"parquet needs pyarrow: pip install 'emotemporal\[parquet\]'"):
        formats.require_packages("parquet")
