"""A module imports from lower floors only."""

import ast
from pathlib import Path

import pytest

FLOORS = {
    "text": 0,
    "errors": 0,
    "files": 0,
    "labels": 0,
    "progress": 0,
    "recorded": 0,
    "structures": 0,
    "versions": 0,
    "workers": 0,
    "compiled": 1,
    "video": 1,
    "faces": 1,
    "labelling": 1,
    "models": 2,
    "datasets": 2,
    "report": 2,
    "checkpoint": 3,
    "weights": 3,
    "networks": 3,
    "export": 4,
    "runtime": 4,
    "pipeline": 4,
    "live": 4,
    "extraction": 4,
    "geometry": 4,
    "batch": 4,
    "training": 4,
    "doctor": 4,
    "estimator": 4,
    "app": 5,
    "cli": 5,
    "__init__": 6,
}
PACKAGE = Path(__file__).resolve().parent.parent / "emotemporal"
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(module: Path) -> set[str]:
    """Rooms of this package that a module imports, anywhere in it, type checking included."""
    rooms = set()
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("emotemporal.")}
    return rooms


def test_every_room_has_a_floor():
    rooms = {room_of(module) for module in MODULES}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_go_down(module):
    room = room_of(module)
    # Rooms on one floor may build on one another in the order in which they stand here.
    order = list(FLOORS)
    upward = {other for other in imported_rooms(module) if order.index(other) > order.index(room)}
    assert not upward, f"{module.name} imports {upward}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_no_file_needs_two_rooms(module):
    assert len(module.read_text().splitlines()) <= 400
