"""A report of one video as a single HTML file that needs nothing else, not even the net.

The page is made of the parts in `assets`. A content security policy lets it run its own scripts alone, told
by their digests, and load nothing but the video, which is not embedded but played from where it lies. Every
name is escaped: files are called anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote, urlsplit

from emotemporal.report.page_data import PageData, pack_analysis
from emotemporal.report.page_tables import aggregations, clips_html, details_html, video_name, warnings_html
from emotemporal.report.palette import emotion_hex, text_hex
from emotemporal.report.tables import duration, open_to_replace, printable
from emotemporal.structures import EmotionTimeline, VideoAnalysis
from emotemporal.video.opening import is_address, is_sequence

# In the order in which they build on one another.
_SCRIPTS = ("data.js", "player.js", "lanes.js", "timeline.js", "tables.js", "page.js")


def write_report_page(
    analysis: VideoAnalysis, path: str | Path, *, video_url: str | None = None, title: str | None = None
) -> None:
    """Write a page that shows a video with everything that was found in it.

    The page plays the file that was analysed by its path from the page's folder; of one the browser cannot
    play, `<stem>.overlay.mp4` beside `<stem>.report.html`, where there is one. It appears complete or not at
    all.

    Args:
        analysis: of a video or a picture.
        path: the page to write, `<stem>.report.html`.
        video_url: address that the page plays the video from, instead of the file's path.
        title: heading; the file's name by default.
    Raises:
        OutputError: the file cannot be written.
    """
    page = render_report_page(analysis, Path(path), video_url=video_url, title=title)
    with open_to_replace(path) as file:
        file.write(page)


def render_report_page(
    analysis: VideoAnalysis, path: Path, *, video_url: str | None = None, title: str | None = None
) -> str:
    """Return the text of a page that will lie at `path`; see `write_report_page`."""
    packed = pack_analysis(analysis)
    sources = _sources(analysis, path, video_url)
    style = _asset("page.css") + _palette(analysis)
    scripts = [_asset(name) for name in _SCRIPTS]
    document = {
        **packed.layout,
        "is_still": analysis.info.is_still,
        "has_audio": analysis.info.has_audio,
        "colours": [emotion_hex(name) for name in analysis.told_labels],
        "text_colours": [text_hex(name) for name in analysis.told_labels],
        "sources": sources,
        "no_source": "" if sources else _why_no_source(analysis),
    }
    for person, timeline in zip(document["people"], analysis.timelines, strict=True):
        person["clip"] = _clip_line(timeline, aggregations(analysis), analysis.min_confidence)
    heading = printable(title or video_name(analysis.info.path))
    return Template(_asset("page.html")).substitute(
        policy=html.escape(_policy(scripts, style, sources)),
        title=html.escape(heading),
        facts=html.escape(_facts(analysis)),
        warnings=warnings_html(analysis.warnings),
        clips=clips_html(analysis),
        details=details_html(analysis, _notes(analysis, packed)),
        footer="Labels are of what a face shows, estimated by a network; they are not what a person feels.",
        style=style,
        layout=_script_json(document),
        streams="\n".join(_stream_element(name, text) for name, text in packed.streams.items()),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _asset(name: str) -> str:
    return (files("emotemporal.report") / "assets" / name).read_text("utf-8")


def _stream_element(name: str, text: str) -> str:
    return f'<script type="text/plain" id="stream-{name}">{text}</script>'


def _script_json(document: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _palette(analysis: VideoAnalysis) -> str:
    told = enumerate(analysis.told_labels)
    rules = [f'[data-emotion="{place}"]{{--emotion:{emotion_hex(name)}}}' for place, name in told]
    return "\n".join(["", *rules, ""])


def _policy(scripts: list[str], style: str, sources: list[dict[str, str]]) -> str:
    """Return the content security policy: nothing but the page's own parts and the video."""
    digests = " ".join(_digest(script) for script in scripts)
    origins = {f"{x.scheme}://{x.netloc}" for x in (urlsplit(s["url"]) for s in sources) if x.netloc}
    media = " ".join(["'self'", "file:", "blob:", "data:", *sorted(origins)])
    return (
        f"default-src 'none'; script-src {digests}; style-src {_digest(style)}; "
        f"img-src {media}; media-src {media}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _sources(analysis: VideoAnalysis, path: Path, video_url: str | None) -> list[dict[str, str]]:
    """Return what the page tries to play, in that order, and whether boxes are drawn in it already."""
    if video_url is not None:
        return [{"kind": "original", "url": video_url}]
    found = []
    video = analysis.info.path
    if not is_address(video) and not is_sequence(video):
        found.append({"kind": "original", "url": _relative_url(Path(video), path)})
    suffix = ".overlay.png" if analysis.info.is_still else ".overlay.mp4"
    overlay = path.with_name(path.name.removesuffix(".html").removesuffix(".report") + suffix)
    if overlay.is_file():
        found.append({"kind": "overlay", "url": _relative_url(overlay, path)})
    return found


def _relative_url(file: Path, page: Path) -> str:
    relative = os.path.relpath(file.resolve(), page.resolve().parent)
    # A colon in the first folder's name would be taken for a scheme.
    return quote(f"./{Path(relative).as_posix()}", errors="surrogateescape")


def _why_no_source(analysis: VideoAnalysis) -> str:
    video = analysis.info.path
    if is_address(video):
        host = urlsplit(video).hostname or "an address"
        return f"The video was read from {printable(host)}; this page loads nothing from the net."
    return "The video was made of numbered pictures, which a browser cannot play."


def _clip_line(timeline: EmotionTimeline, names: list[str], min_confidence: float) -> str:
    """Return the clip label that counts, as it stands beside a person's name."""
    for name in names:
        if name in timeline.clip:
            result = timeline.clip[name]
            return f"{result.label(min_confidence)} {100 * result.confidence:.0f}% by {name}"
    return ""


def _notes(analysis: VideoAnalysis, packed: PageData) -> list[str]:
    """Return what the page holds less exactly than the results."""
    notes = ["Probabilities are told to 0.2 percentage points, boxes to 1/4000 of the picture."]
    told = {
        "raw": "Raw probabilities are means of {} frames",
        "boxes": "Boxes are those of every {} frames, between them on a straight line",
        "smoothed": "Smoothed probabilities are means of {} frames",
    }
    for name, wording in told.items():
        if packed.together[name] > 1:
            notes.append(f"{wording.format(packed.together[name])}, to keep the page small.")
    notes.append("Times, smoothed labels and segments are exact.")
    return notes


def _facts(analysis: VideoAnalysis) -> str:
    info, num_frames = analysis.info, len(analysis.pts_seconds)
    facts = [f"{info.width}×{info.height}"]
    if not info.is_still:
        facts += [duration(info.duration_seconds), f"{info.average_fps:.4g} frames per second"]
    facts.append(f"{num_frames} frame" if num_frames == 1 else f"{num_frames:,} frames")
    num_people = len(analysis.tracks)
    facts.append(
        "no face found" if not num_people else f"{num_people} {'person' if num_people == 1 else 'people'}"
    )
    return " · ".join(facts)
