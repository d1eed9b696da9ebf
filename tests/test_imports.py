"""The structure holds: which room imports which, TensorFlow inside functions only, nothing unpickled, files short."""

import ast
import importlib.util
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.support import REPOSITORY

FOLDERS = ("landmodel", "operators", "assim", "pipeline")
FILES = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))]
SHIPPED_TESTS = "testing.py"  # contracts for operators and filters of others, which need pytest
LIBRARIES = {
    "landmodel": {"numpy", "numba", "llvmlite"},
    "operators": {"numpy", "scipy", *(f"ldas.landmodel.{name}" for name in ("errors", "array_types", "compile"))},
    "assim": {"numpy", "numba", "scipy", "ldas.landmodel", "ldas.operators"},
}
LAZY = {"operators": {"tensorflow", "keras"}, "landmodel": {"cuda"}}
EXTENSIONS = {"numba.extending", "numba.cuda.extending"}
EXPLORER = {"panel", "holoviews", "bokeh", "datashader", "hvplot"}  # an extra: only these files may need it
PAGE = {REPOSITORY / "pipeline" / "explore" / name for name in ("page.py", "pictures.py")}
# The floors of the house: a room imports from rooms further up in this list only.
FLOORS = (
    "landmodel",
    "operators",
    "assim",
    "pipeline.errors",
    "pipeline.files",
    "pipeline.registry",
    "pipeline.store",
    "pipeline.settings",
    "pipeline.forcing",
    "pipeline.execution",
    "pipeline.site",
    "pipeline.tables",
    "pipeline.ingest",
    "pipeline.stages",
    "pipeline.evaluation",
    "pipeline.report",
    "pipeline.explore",
    "pipeline.calibration",
    "pipeline.twin",
    "pipeline.export",
    "pipeline.plan",
    "pipeline.commands",
    "pipeline.cli",
    "pipeline.program",
)
MOST_ROOMS, MOST_ARROWS = 26, 150


@cache
def rooms() -> ModuleType:
    """`benchmarks/rooms.py`, which counts rooms and arrows."""
    specification = importlib.util.spec_from_file_location("rooms", REPOSITORY / "benchmarks" / "rooms.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module of a file, and whether the import is inside a function."""
    found: list[tuple[str, bool]] = []
    waiting: list[tuple[ast.AST, bool]] = [(parsed(path), False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(name.name, inside) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "ldas":  # from ldas import landmodel
                found += [(f"ldas.{name.name}", inside) for name in node.names]
            else:
                found.append((str(node.module), inside))
        inside |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [(child, inside) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
    return found


def within(name: str, allowed: set[str]) -> bool:
    """Whether a module is one of the allowed ones, or below one."""
    return any(name == root or name.startswith(f"{root}.") for root in allowed)


def test_libraries_know_neither_files_nor_dask_nor_each_other_the_wrong_way() -> None:
    offenders = []
    for path in FILES:
        folder = path.relative_to(REPOSITORY).parts[0]
        if folder == "pipeline":
            continue
        allowed = LIBRARIES[folder] | {f"ldas.{folder}"} | set(sys.stdlib_module_names)
        allowed |= {"pytest"} if path.name == SHIPPED_TESTS else set()
        offenders += [
            f"{path.relative_to(REPOSITORY)} imports {name}"
            for name, in_function in imports(path)
            if not within(name, allowed) and not (in_function and within(name, LAZY.get(folder, set())))
        ]
    assert offenders == []


def test_types_of_arrays_are_defined_once() -> None:
    home = "landmodel/array_types.py"
    defined = re.compile(
        r"^(?:type )?(\w+) = (?:npt\.)?NDArray\[np\.(?:float64|int64|int8|bool_|datetime64)\]", re.MULTILINE
    )
    found = {str(path.relative_to(REPOSITORY)): defined.findall(path.read_text(encoding="utf-8")) for path in FILES}
    assert found.pop(home) == ["Array", "IntArray", "BoolArray", "Times", "Days"]
    assert {path: names for path, names in found.items() if names} == {"assim/quality.py": ["CodeArray"]}


def test_the_floors_hold() -> None:
    graph = rooms().room_graph(REPOSITORY)
    assert set(graph) == set(FLOORS)
    height = {room: number for number, room in enumerate(FLOORS)}
    climbs = [
        f"{room} -> {other}" for room, others in graph.items() for other in others if height[other] > height[room]
    ]
    assert climbs == []


def test_few_rooms_and_arrows_no_knot_and_no_cycle_of_files() -> None:
    module = rooms()
    graph = module.room_graph(REPOSITORY)
    assert len(graph) <= MOST_ROOMS
    assert sum(map(len, graph.values())) <= MOST_ARROWS
    assert module.knots(graph) == []
    assert module.knots(module.file_graph(REPOSITORY)) == []


def test_a_knot_would_be_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert rooms().knots(graph) == [["a", "b", "c"]]


def test_tensorflow_only_inside_functions() -> None:
    heavy = {"tensorflow", "keras"}
    assert [path for path in FILES for name, inside in imports(path) if within(name, heavy) and not inside] == []


def test_the_explorer_alone_needs_its_libraries() -> None:
    needed = {path for path in FILES for name, inside in imports(path) if within(name, EXPLORER) and not inside}
    assert needed == PAGE
    page = {f"ldas.pipeline.explore.{path.stem}" for path in PAGE}
    assert [path for path in set(FILES) - PAGE for name, inside in imports(path) if name in page and not inside] == []


def test_nothing_is_unpickled_or_evaluated() -> None:
    """Stores and files from strangers are data: no module reads anything that could run."""
    forbidden = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    offenders = []
    for path in (path for path in FILES if path.name != SHIPPED_TESTS):
        offenders += [f"{path}: {name}" for name, _ in imports(path) if name in forbidden]
        offenders += [
            f"{path}:{node.lineno}"
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
        ]
    assert offenders == []


def test_every_file_is_short_enough_to_read() -> None:
    assert [str(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 500] == []


def test_types_are_checked_in_every_file_but_those_of_compiled_kernels_only() -> None:
    """The types of a kernel are Numba's: of its functions, or of the extension of Numba that they are written with."""

    def compiled_only(tree: ast.Module) -> bool:
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        decorators = [{ast.unparse(decorator) for decorator in function.decorator_list} for function in functions]
        return bool(functions) and all(found & {"science", "cached_entry"} for found in decorators)

    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]["overrides"]
    exempt = [name for entry in settings if entry.get("check_untyped_defs") is False for name in entry["module"]]
    kernels = []
    for path in (path for path in FILES if path.is_relative_to(REPOSITORY / "landmodel")):
        if compiled_only(parsed(path)) or any(name in EXTENSIONS for name, _ in imports(path)):
            kernels.append(".".join(("ldas", *path.relative_to(REPOSITORY).with_suffix("").parts)))
    assert sorted(exempt) == sorted(kernels)
