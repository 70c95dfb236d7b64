"""The parts of a report page that need no script: clip labels, warnings, what the page was made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emotemporal.labelling.statistics import shares_table
from emotemporal.report.tables import clock, printable
from emotemporal.structures import ClipResult, EmotionTimeline, GeometryResult, Track, VideoAnalysis
from emotemporal.video.opening import is_address

_SHARES_WIDTH = 180


def text(value: Any) -> str:
    """Return any value as text of a page: escaped, with control characters spelled out."""
    return escape(printable(str(value)))


def warnings_html(warnings: tuple[str, ...]) -> str:
    """Return the warnings as a notice, nothing where there are none."""
    if not warnings:
        return ""
    items = "".join(f"<li>{text(warning)}</li>" for warning in warnings)
    return f'<div class="notice" role="note"><strong>Warnings</strong><ul>{items}</ul></div>'


def clips_html(analysis: VideoAnalysis) -> str:
    """Return the table of everyone's labels for the clip: by every aggregation, and whether these agree."""
    if not analysis.tracks:
        return (
            '<section class="sheet" aria-labelledby="clips-title"><h2 id="clips-title">Clip labels</h2>'
            '<p class="note">No face was found in any frame: there is nobody to label.</p></section>'
        )
    names = aggregations(analysis)
    has_geometry = any(timeline.geometry is not None for timeline in analysis.timelines)
    titles = [f"by {name}" for name in names]
    if has_geometry:
        titles.append("by landmarks")
    head = "".join(
        f'<th scope="col">{text(x)}</th>' for x in ["Person", *titles, "Agreement", "Share of time"]
    )
    shares = shares_table(analysis)
    rows = []
    for track, timeline in zip(analysis.tracks, analysis.timelines, strict=True):
        own = shares[shares["track_id"] == track.track_id]["share"].to_numpy()
        cells = [_person_cell(track)]
        cells += [_result_cell(timeline.clip.get(name), analysis) for name in names]
        if has_geometry:
            cells.append(_geometry_cell(timeline.geometry, analysis.min_confidence))
        cells += [_agreement_cell(timeline, names), _shares_cell(own, analysis.told_labels)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<section class="sheet" aria-labelledby="clips-title"><h2 id="clips-title">Clip labels</h2>'
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="clips-title"><table>'
        "<caption><span>One label for each person’s whole time in view, by every way of making one of "
        "the frames, with its confidence; a vote’s is its share of the frames. The first is the one "
        "that counts. Share of time is that of the smoothed labels.</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def details_html(analysis: VideoAnalysis, notes: list[str]) -> str:
    """Return how the results came about: checkpoint, settings, versions, and what the page leaves out."""
    settings = dict(analysis.settings)
    versions = settings.pop("versions", {})
    info = analysis.info
    times = {
        "first frame at": f"{analysis.pts_seconds[0]:.3f} s",
        "frame rate": "variable" if info.variable_frame_rate else "constant",
        "turned by": f"{info.rotation_degrees}°",
        "sound": "yes" if info.has_audio else "no",
    }
    video = {"file": video_name(info.path), **({} if info.is_still else times)}
    blocks = [
        ("Video", _list_html(video)),
        ("Checkpoint", _list_html(analysis.checkpoint)),
        ("Settings", _list_html(settings)),
        ("Versions", _list_html(versions)),
        ("On this page", "<ul>" + "".join(f"<li>{text(note)}</li>" for note in notes) + "</ul>"),
    ]
    inner = "".join(f"<div><h3>{title}</h3>{block}</div>" for title, block in blocks)
    return (
        '<section class="sheet" aria-labelledby="details-title">'
        f'<h2 id="details-title">How it was made</h2><div class="details">{inner}</div></section>'
    )


def video_name(path: str) -> str:
    """Return what a video is called; of an address without what follows a question mark: it may be secret."""
    name = Path(urlsplit(path).path if is_address(path) else path).name
    return printable(name or "video")


def aggregations(analysis: VideoAnalysis) -> list[str]:
    """Return the names of all aggregations, the one that counts first."""
    names = list(dict.fromkeys(name for timeline in analysis.timelines for name in timeline.clip))
    chosen = analysis.settings.get("aggregate")
    return sorted(names, key=lambda name: name != chosen)


def _person_cell(track: Track) -> str:
    first, last = clock(float(track.pts_seconds[0])), clock(float(track.pts_seconds[-1]))
    seen = f"face found on {100 * track.seen.mean():.0f}%"
    return (
        f'<th scope="row">person {track.track_id}'
        f'<span class="sub">{first}–{last}</span><span class="sub">{seen}</span></th>'
    )


def _result_cell(result: ClipResult | None, analysis: VideoAnalysis) -> str:
    if result is None:
        return "<td>–</td>"
    label = result.label(analysis.min_confidence)
    told = f"{100 * result.confidence:.0f}%"
    if label != result.emotion:
        told = f"{result.emotion} {told}"
    place = analysis.told_labels.index(label)
    swatch = f'<span class="swatch" data-emotion="{place}" aria-hidden="true"></span>'
    return f'<td><span class="emotion">{swatch}{text(label)}</span><span class="sub">{text(told)}</span></td>'


def _geometry_cell(result: GeometryResult | None, min_confidence: float) -> str:
    """Without a swatch: the landmarks' emotions are others."""
    if result is None:
        return "<td>–</td>"
    told = f"{100 * result.confidence:.0f}%" + (", against a baseline" if result.baseline else "")
    if result.label(min_confidence) != result.emotion:
        told = f"{result.emotion} {told}"
    return f'<td>{text(result.label(min_confidence))}<span class="sub">{text(told)}</span></td>'


def _agreement_cell(timeline: EmotionTimeline, names: list[str]) -> str:
    own = [name for name in names if name in timeline.clip]
    if timeline.aggregations_agree:
        return f'<td class="agrees">{"all agree" if len(own) > 1 else "–"}</td>'
    first = timeline.clip[own[0]].emotion
    others = [
        f"{name} says {timeline.clip[name].emotion}"
        for name in own[1:]
        if timeline.clip[name].emotion != first
    ]
    return f'<td class="differs">≠ {text(", ".join(others))}</td>'


def _shares_cell(shares: Any, labels: tuple[str, ...]) -> str:
    told = ", ".join(_told_shares(shares, labels))
    parts, left = [], 0.0
    for place, share in enumerate(shares):
        width = _SHARES_WIDTH * float(share)
        if width > 0:
            parts.append(
                f'<rect x="{left:.2f}" y="0" width="{width:.2f}" height="12" data-emotion="{place}"/>'
            )
        left += width
    return (
        f'<td><svg class="shares" viewBox="0 0 {_SHARES_WIDTH} 12" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(told)}">{"".join(parts)}</svg><span class="sub">{text(told)}</span></td>'
    )


def _told_shares(shares: Any, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield the three largest shares in words."""
    ranked = sorted(zip(shares, labels, strict=True), key=lambda pair: -pair[0])
    for share, name in ranked[:3]:
        if share >= 0.005:
            yield f"{name} {100 * share:.0f}%"


def _list_html(entries: Mapping[str, Any]) -> str:
    told = {str(key).replace("_", " "): "–" if value is None else value for key, value in entries.items()}
    rows = (f"<div><dt>{text(key)}</dt><dd>{text(value)}</dd></div>" for key, value in told.items())
    return f"<dl>{''.join(rows)}</dl>"
