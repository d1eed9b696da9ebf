"""How many rooms the house has, and how many arrows: folders with code, what each imports from others, and knots.

A room is a folder with code; in a folder with an opened `__init__`-only top (`pipeline`), each folder below it and each
module that stands alone there. An arrow is an import between two rooms, those inside functions counted too. A knot is a
set of rooms, or of files, that reach each other.

    python benchmarks/rooms.py [CHECKOUT] [--arrows]
"""

import argparse
import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOLDERS = ("landmodel", "operators", "assim", "pipeline")
OPENED = ("pipeline",)
Graph = dict[str, set[str]]


def files(checkout: Path) -> dict[str, Path]:
    """Every file of code by its module's name, below `ldas` or not."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((checkout / folder).rglob("*.py")):
            parts = path.relative_to(checkout).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of the project that a file imports, wherever in it, `TYPE_CHECKING` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in (name.removeprefix("ldas.") for name in names):
            module = name if name in modules else name.rpartition(".")[0]
            if module in modules:
                yield module


def room(module: str) -> str:
    """The room of a module."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in OPENED else parts[0]


@cache
def file_graph(checkout: Path) -> Graph:
    """What each module imports."""
    modules = files(checkout)
    return {name: set(imported(path, modules)) - {name} for name, path in modules.items()}


def room_graph(checkout: Path) -> Graph:
    """What each room imports from others; the empty top of an opened folder is none."""
    graph: Graph = {}
    for module, others in file_graph(checkout).items():
        if module not in OPENED:
            graph.setdefault(room(module), set()).update(room(other) for other in others if other not in OPENED)
    return {name: others - {name} for name, others in graph.items()}


def reached(graph: Graph, start: str) -> set[str]:
    """Everything that can be reached from a node by at least one arrow."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += graph[node]
    return found


def knots(graph: Graph) -> list[list[str]]:
    """The sets of nodes that reach each other."""
    reach = {node: reached(graph, node) for node in graph}
    sets = {
        tuple(sorted(other for other in reach[node] if node in reach[other])) for node in graph if node in reach[node]
    }
    return [list(names) for names in sorted(sets)]


def main() -> None:
    """Prints the figures of a checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=Path(__file__).resolve().parents[1])
    parser.add_argument("--arrows", action="store_true", help="list the arrows of every room")
    arguments = parser.parse_args()
    graph = room_graph(arguments.checkout)
    if arguments.arrows:
        for name, others in sorted(graph.items()):
            print(f"{name}: {', '.join(sorted(others)) or '-'}")
    print(f"{len(graph)} rooms, {sum(map(len, graph.values()))} arrows")
    for what, found in (("rooms", knots(graph)), ("files", knots(file_graph(arguments.checkout)))):
        print(f"knots of {what}: {'; '.join(', '.join(names) for names in found) or 'none'}")


if __name__ == "__main__":
    main()
