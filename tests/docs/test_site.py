"""The site can be built, and refers to nothing outside of itself."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("material", reason="the extra docs is not installed")

# What a browser loads of itself, by element.
_LOADED = {
    "script": "src", "img": "src", "iframe": "src", "video": "src", "audio": "src", "source": "src",
    "link": "href", "embed": "src", "object": "data",
}  # fmt: skip
_FROM_CSS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built site; --strict makes errors of dead links, dead anchors and pages left out."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    # Nothing can be fetched meanwhile.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder


class _Page(HTMLParser):
    """Everything that a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        address = found.get(_LOADED.get(tag, ""))
        if address:
            self.loaded.append(address)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")


def _pages(site: Path) -> Iterator[tuple[Path, _Page]]:
    for path in sorted(site.rglob("*.html")):
        yield path, _Page(path.read_text(encoding="utf-8"))


def test_every_page_is_there(site: Path, root: Path) -> None:
    built = {path.stem for path in site.glob("*.html")}
    assert built >= {page.stem for page in (root / "docs").glob("*.md")} | {"security"}
    cards = {path.stem for path in (site / "cards").glob("*.html")}
    assert cards == {card.stem for card in (root / "checkpoints").glob("*.md")}
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path, page in _pages(site):
        assert page.loaded
        for address in page.loaded:
            parts = urlsplit(address)
            assert (parts.scheme, parts.netloc) in (("", ""), ("data", "")), f"{path.name}: {address}"
            # The page for addresses that are not there stands at any depth.
            if not parts.scheme and path.name != "404.html":
                assert (path.parent / unquote(parts.path)).exists(), f"{path.name}: {address}"
    for path in site.rglob("*.css"):
        for found in _FROM_CSS.finditer(path.read_text(encoding="utf-8")):
            address = found[1] or found[2]
            parts = urlsplit(address)
            assert (parts.scheme, parts.netloc) in (("", ""), ("data", "")), address


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    pages = dict(_pages(site))
    num = 0
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path.name}: {link}"
            num += 1
    assert num > 100


def test_a_browser_asks_for_nothing_else(site: Path, browser: Any) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in ("index.html", "aggregation.html", "cards/frame_fer2013.html"):
            page.goto((site / name).as_uri())
            page.wait_for_load_state("networkidle")
        assert len(asked) > 5
        assert {urlsplit(address).scheme for address in asked} <= {"file", "data", "blob"}
        assert not faults
