"""The one table of quantities: complete, the same as the code, and what the state and the memory are made of."""

import ast
from collections import defaultdict

import pytest

from ldas.landmodel import Forcing, State, layout, quantities
from ldas.landmodel.quantities import Quantity, named
from tests.support import REPOSITORY

TABLES = {name: table for name, table in vars(quantities).items() if name.isupper() and isinstance(table, tuple)}
ASSIGNED = {
    "air": quantities.AIR,
    "flux": quantities.FLUXES,
    "work": (
        *(*quantities.SURFACE, *quantities.SCRATCH, *quantities.SOIL_SCRATCH),
        *(*quantities.SNOW_SCRATCH, *quantities.WHOLE_NUMBERS),
    ),
}


def assignments() -> dict[str, dict[str, set[str]]]:
    """Record and field -> the functions of the physics that assign it, read from the source."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in (REPOSITORY / "landmodel").glob("*.py"):
        functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
        for function in functions:
            for node in ast.walk(function):
                targets = node.targets if isinstance(node, ast.Assign) else ()
                targets = [node.target] if isinstance(node, ast.AugAssign) else list(targets)
                for target in targets:
                    for item in target.elts if isinstance(target, ast.Tuple) else [target]:
                        field = item.value if isinstance(item, ast.Subscript) else item
                        if isinstance(field, ast.Attribute) and isinstance(field.value, ast.Name):
                            found[field.value.id][field.attr].add(function.name)
    return found


@pytest.mark.parametrize("record", ["air", "work", "flux"])
def test_set_by_names_the_functions_that_assign_a_quantity(record: str) -> None:
    stated = {quantity.name: set(quantity.set_by.split()) for quantity in ASSIGNED[record]}
    assert stated == dict(assignments()[record])


def test_every_quantity_has_a_unit_a_meaning_and_a_name_of_its_own() -> None:
    for table in TABLES.values():
        assert all(quantity.unit and quantity.meaning and quantity.low < quantity.high for quantity in table)
        assert len(named(table)) == len(table)
        surfex = [quantity.surfex for quantity in table if quantity.surfex]
        assert len(set(surfex)) == len(surfex)


def test_the_state_is_that_of_the_table() -> None:
    assert State._fields == tuple(named(quantities.STATE))
    assert Forcing._fields == tuple(named(quantities.FORCING))
    assert all(bool(quantity.rows) == bool(quantity.axis) for quantity in quantities.STATE)


def test_the_memory_is_that_of_the_table() -> None:
    def rows(dtype: object, quantity: Quantity) -> tuple[int, ...]:
        return dtype[quantity.name].shape[:-1]  # type: ignore[index]

    for dtype, table in ((layout.STATE_DTYPE, quantities.STATE), (layout.AIR_DTYPE, quantities.AIR)):
        assert dtype.names == tuple(named(table))
        assert [rows(dtype, q) for q in table] == [(q.rows,) if q.rows else () for q in table]
    assert layout.WORK_DTYPE.names[: len(layout.SURFACE)] == layout.SURFACE
