"""What the site takes from outside of this folder: the models' cards, and SECURITY.md.

Called by MkDocs, which mkdocs.yml tells of it.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages made of files that have their place elsewhere; their links are led to where they now are."""
    pages = {f"cards/{card.name}": card for card in sorted((ROOT / "checkpoints").glob("*.md"))}
    for address, source in (pages | {"security.md": ROOT / "SECURITY.md"}).items():
        text = source.read_text(encoding="utf-8").replace("](../docs/", "](../").replace("](docs/", "](")
        files.append(File.generated(config, address, content=text))
    return files
