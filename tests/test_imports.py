"""How the package's modules import each other: no cycle, and nothing private from outside its package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import purenet

ROOT = Path(purenet.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imported(name: str, path: Path, *, everywhere: bool) -> Iterator[str]:
    """The modules of the package that a module imports: when it is itself imported, or `everywhere` in it."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree) if everywhere else tree.body)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:
                inside = f"{source}.{alias.name}"
                yield from (module for module in [inside if inside in FILES else source] if module in FILES)


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(imported(name, path, everywhere=False)) for name, path in FILES.items()}
    assert graph["purenet.checking.report"] >= {"purenet.checking.plot", "purenet.checking.vocabulary"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


def test_nothing_private_is_imported_from_outside_its_package() -> None:
    outside = [
        f"{name} imports {module}"
        for name, path in FILES.items()
        for module in imported(name, path, everywhere=True)
        if is_private(module) and not f"{name}.".startswith(f"{owner(module)}.")
    ]
    assert not outside


def is_private(module: str) -> bool:
    return any(part.startswith("_") and part != "__main__" for part in module.split("."))


def owner(module: str) -> str:
    """The package that the first private part of a module's name stands in."""
    parts = module.split(".")
    return ".".join(parts[: next(k for k, part in enumerate(parts) if part.startswith("_"))])


def test_no_file_is_long() -> None:
    assert {name for name, path in FILES.items() if len(path.read_text().splitlines()) > 400} == set()
