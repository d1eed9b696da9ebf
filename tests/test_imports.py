"""Rooms import only what docs/architecture.md allows them, and TensorFlow only inside functions."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import REPOSITORY

ROOMS = ("landmodel", "operators", "assim", "pipeline")
ALLOWED = {
    "landmodel": {"landmodel", "numpy", "numba", "llvmlite"},
    "operators": {"operators", "numpy", "numba", "scipy", "landmodel.errors"},
    "assim": {"assim", "numpy", "numba", "scipy", "landmodel", "operators"},
}
LAZY = {"operators": {"tensorflow", "keras"}}
SHIPPED_TESTS = "testing.py"  # contracts for operators and filters of others, which need pytest
FILES = [path for room in ROOMS for path in sorted((REPOSITORY / room).rglob("*.py"))]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module of a file, and whether the import is inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module), id(node) in inside


def within(name: str, allowed: set[str]) -> bool:
    """Whether a module is one of the allowed ones, or below one."""
    return any(name == root or name.startswith(f"{root}.") for root in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_import_directions(path: Path) -> None:
    room = path.relative_to(REPOSITORY).parts[0]
    if room == "pipeline":
        return
    allowed = ALLOWED[room] | set(sys.stdlib_module_names) | ({"pytest"} if path.name == SHIPPED_TESTS else set())
    for name, in_function in imports(path):
        lazy = in_function and within(name, LAZY.get(room, set()))
        assert lazy or within(name, allowed), f"{path}: {room} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_tensorflow_only_inside_functions(path: Path) -> None:
    for name, in_function in imports(path):
        assert in_function or not within(name, {"tensorflow", "keras"}), f"{path} imports {name} at its top"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    """Stores and files from strangers are data: no module reads anything that could run."""
    if path.name == SHIPPED_TESTS:
        return
    forbidden = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    assert not {name for name, _ in imports(path)} & forbidden
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"


def test_every_file_is_short_enough_to_read() -> None:
    long = {str(path): n for path in FILES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 500}
    assert not long
