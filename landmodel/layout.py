"""Where every quantity lies in memory: the records of a block of columns, made from the table of quantities.

Outside the kernel an array has the column first. Inside it a block of `WIDTH` columns lies in records whose fields are
(row, lane) or (lane,): the same numbers in the same order, transposed.
"""

from collections.abc import Iterable

import numpy as np

from ldas.landmodel import quantities
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.quantities import Quantity

STATE_FIELDS = {quantity.name: quantity.rows for quantity in quantities.STATE}
"""Name and number of rows (0: one value a column) of the prognostic state."""
LAYER_PARAMETERS = tuple(quantities.named(quantities.LAYER_PARAMETERS))
COLUMN_PARAMETERS = tuple(quantities.named(quantities.COLUMN_PARAMETERS))
PARAMETER_ROWS = {q.name: q.rows for q in (*quantities.LAYER_PARAMETERS, *quantities.COLUMN_PARAMETERS)}
FLUXES = tuple(quantities.named(quantities.FLUXES))
SURFACE = tuple(quantities.named(quantities.SURFACE))
"""The first rows of the scratch space, so that they can be put out like fluxes."""


def _fields(table: Iterable[Quantity]) -> list[tuple[str, type, tuple[int, ...]]]:
    return [(q.name, np.float64, (q.rows, WIDTH) if q.rows else (WIDTH,)) for q in table]


STATE_DTYPE = np.dtype(_fields(quantities.STATE))
PARAMETER_DTYPE = np.dtype(_fields((*quantities.LAYER_PARAMETERS, *quantities.COLUMN_PARAMETERS)))
FORCING_DTYPE = np.dtype(_fields(quantities.FORCING))
AIR_DTYPE = np.dtype(_fields(quantities.AIR))
FLUX_DTYPE = np.dtype(_fields(quantities.FLUXES))
WORK_DTYPE = np.dtype(
    [
        *_fields((*quantities.SURFACE, *quantities.SCRATCH, *quantities.SOIL_SCRATCH, *quantities.SNOW_SCRATCH)),
        *((q.name, np.int64, (q.rows,) if q.rows else ()) for q in quantities.WHOLE_NUMBERS),
    ]
)
OPTION_DTYPE = np.dtype(
    [
        ("step", np.float64),
        ("energy_substeps", np.int64),
        ("water_substeps", np.int64),
        ("snow_layers", np.int64),
        ("light_carrer", np.int64),
        ("runoff_saturation", np.int64),
        ("runoff_horton", np.int64),
        ("drip_subgrid", np.int64),
        ("respiration_prm", np.int64),
        ("conserve_heat", np.int64),
        ("diagnose_exchange", np.int64),
        ("diagnose_screen_level", np.int64),
    ]
)


def rows_of(fields: dict[str, int]) -> dict[str, range]:
    """Rows of every field in the flat form of a record."""
    rows: dict[str, range] = {}
    start = 0
    for name, count in fields.items():
        rows[name] = range(start, start + max(count, 1))
        start += max(count, 1)
    return rows


STATE_ROWS = rows_of(STATE_FIELDS)
STATE_SIZE = sum(max(count, 1) for count in STATE_FIELDS.values())
PARAMETER_SIZE = sum(max(count, 1) for count in PARAMETER_ROWS.values())
FLUX_SIZE = len(FLUXES)
