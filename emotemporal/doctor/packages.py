"""Which packages there must be, which there may be, and which there are."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from emotemporal.doctor.findings import Finding

# Distribution -> what is imported, where the names differ.
_MODULES = {
    "decord2": "decord",
    "facenet-pytorch": "facenet_pytorch",
    "scikit-learn": "sklearn",
    "opencv-python-headless": "cv2",
    "dlib-bin": "dlib",
}
EXTRAS = {
    "openvino": "the networks run faster on a CPU",
    "onnx": "checkpoints are exported for other systems",
    "landmarks": "68 landmarks: --geometry, --landmarks68; not for commercial use",
    "parquet": "--formats parquet",
    "app": "the web app",
}
"""What each extra of the package gives; those for work on the package itself are left out."""
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def module_of(name: str) -> str:
    """Return what is imported of a distribution."""
    return _MODULES.get(name, name)


def read_requirements() -> dict[str, list[str]]:
    """Return the requirements of the package itself, under '', and of each extra."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    # A checkout may have been installed when it asked for less.
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return {"": table["dependencies"], **table["optional-dependencies"]}
    found: dict[str, list[str]] = {"": []}
    for line in importlib.metadata.requires("emotemporal") or []:
        text, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        found.setdefault(extra.group(1) if extra else "", []).append(text.strip())
    return found


def check_packages(requirements: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Compare what is installed with what is asked for; nothing is imported but `packaging`."""
    try:
        from packaging.requirements import Requirement
    except Exception as error:
        yield Finding(
            "packaging",
            "fault",
            f"cannot be imported ({error})",
            "run: pip install --force-reinstall packaging",
        )
        return
    for text in requirements[""]:
        required = Requirement(text)
        advice = f"run: pip install '{required.name}{required.specifier}'"
        version = installed_version(required.name)
        if version is None:
            yield Finding(required.name, "fault", f"not installed, {text} is needed", advice)
        elif not required.specifier.contains(version, prereleases=True):
            yield Finding(required.name, "fault", f"{version}, {required.specifier} is needed", advice)
        else:
            yield Finding(required.name, "ok", version)
    yield from _check_pair(Requirement)
    for extra, gives in EXTRAS.items():
        yield _check_extra(extra, gives, [Requirement(text) for text in requirements.get(extra, [])])


def _check_pair(requirement_class: type) -> Iterator[Finding]:
    """Compare torch with what torchvision was built for, as it says itself."""
    torch = installed_version("torch")
    if torch is None or installed_version("torchvision") is None:
        return
    for line in importlib.metadata.requires("torchvision") or []:
        required = requirement_class(line)
        if required.name == "torch" and not required.specifier.contains(torch, prereleases=True):
            yield Finding(
                "torch and torchvision",
                "fault",
                f"torch {torch}, this torchvision was built for {required.specifier}",
                "run: pip install --upgrade torch torchvision",
            )


def _check_extra(extra: str, gives: str, requirements: list) -> Finding:
    name, advice = f"extra {extra}", f"run: pip install 'emotemporal[{extra}]'"
    versions = {required: installed_version(required.name) for required in requirements}
    missing = [required.name for required, version in versions.items() if version is None]
    if missing:
        return Finding(name, "note", f"not installed ({gives}): {', '.join(missing)}", advice)
    old = [
        f"{required.name} {version}, {required.specifier} is needed"
        for required, version in versions.items()
        if not required.specifier.contains(version, prereleases=True)
    ]
    if old:
        return Finding(name, "fault", "; ".join(old), advice)
    return Finding(
        name, "ok", ", ".join(f"{required.name} {version}" for required, version in versions.items())
    )


def installed_version(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
