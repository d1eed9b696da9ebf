"""Tables that say what a land cover class consists of: ECOCLIMAP's cover file, or a table of classes."""

from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ldas.landmodel.array_types import Array
from ldas.pipeline.errors import IngestError

PATCHES = 12
TROPIC = 23.5  # degrees
# ISBA's 19 vegetation types (ECOCLIMAP) -> patch 1..12 (docs/science/parameters.md, section 1)
VEGTYPE_PATCH = {
    "NO": 1,
    "ROCK": 2,
    "SNOW": 3,
    "TEBD": 4,
    "BONE": 5,
    "TRBE": 6,
    "C3": 7,
    "C4": 8,
    "IRR": 9,
    "GRAS": 10,
    "TROG": 11,
    "PARK": 12,
    "TRBD": 4,
    "TEBE": 4,
    "TENE": 5,
    "BOBD": 4,
    "BOND": 5,
    "BOGR": 10,
    "SHRB": 4,
}
SURFACES = ("TOWN", "NATURE", "WATER", "SEA")
_ROUNDING = 0.011  # the table has two decimals


@dataclass(frozen=True)
class CoverTable:
    """Classes (c,) with their parts of water, urban area and the 12 patches (c, 12) in the temperate and tropical zone.

    The parts of water, urban area and patches of a class sum to 1.
    """

    classes: npt.NDArray[np.int64]
    water: Array
    urban: Array
    patches: Array
    tropical_patches: Array

    def index_of(self, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of the table for class numbers; -1 for a class that it does not have."""
        order = np.argsort(self.classes)
        place = np.minimum(np.searchsorted(self.classes[order], classes), len(order) - 1)
        return np.where(self.classes[order][place] == classes, order[place], -1)


def read_class_table(path: Path | None = None) -> CoverTable:
    """A CSV table with the columns class, zone, name, water, urban, p1 .. p12; without a path the one for IGBP classes.

    Raises:
        IngestError: columns missing, parts that do not sum to 1.
    """
    where = path or package_files("ldas.pipeline.ingest").joinpath("igbp_classes.csv")
    try:
        with where.open(encoding="utf-8") as file:
            table = pd.read_csv(file, comment="#")
    except (OSError, ValueError) as error:
        raise IngestError(f"{where}: not a readable class table: {error}") from error
    patches = [f"p{number}" for number in range(1, PATCHES + 1)]
    missing = [name for name in ("class", "zone", "water", "urban", *patches) if name not in table]
    if missing:
        raise IngestError(f"{where}: the class table lacks the columns {', '.join(missing)}")
    parts = table[["water", "urban", *patches]].to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.abs(parts.sum(axis=1) - 1.0) > 1e-6)
    if wrong.size:
        raise IngestError(
            f"{where}: the parts of class {table['class'][wrong[0]]} sum to {parts[wrong[0]].sum():g}, not 1"
        )
    temperate = table[table["zone"] == "temperate"].set_index("class")
    tropical = table[table["zone"] == "tropical"].set_index("class")
    replaced = temperate[patches].copy()
    replaced.loc[tropical.index] = tropical[patches].astype(replaced.dtypes.to_dict())
    return CoverTable(
        temperate.index.to_numpy(dtype=np.int64),
        temperate["water"].to_numpy(dtype=np.float64),
        temperate["urban"].to_numpy(dtype=np.float64),
        temperate[patches].to_numpy(dtype=np.float64),
        replaced.to_numpy(dtype=np.float64),
    )


def read_ecoclimap(path: Path) -> CoverTable:
    """The fractions of an ECOCLIMAP cover file in text form (ecoclimapI_covers_param).

    Raises:
        IngestError: no such file, or one whose fractions do not sum to 1.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise IngestError(f"{path}: cannot be read: {error}") from error
    surfaces: dict[int, dict[str, float]] = {}
    vegtypes: dict[int, dict[str, float]] = {}
    for number, line in enumerate(lines):
        words = line.split()
        if not words or words[0] != "FRACTION" or number + 1 >= len(lines):
            continue
        names = [word.upper() for word in words[1:]]
        values = lines[number + 1].split()
        try:
            cover, numbers = int(values[0]), [float(value) for value in values[1:]]
        except (IndexError, ValueError) as error:
            raise IngestError(f"{path}, line {number + 2}: expected a cover and {len(names)} fractions") from error
        if len(numbers) != len(names):
            raise IngestError(f"{path}, line {number + 2}: {len(numbers)} fractions for {len(names)} names")
        target = surfaces if set(names) == set(SURFACES) else vegtypes
        target[cover] = dict(zip(names, numbers, strict=True))
    if not surfaces:
        raise IngestError(f"{path}: no line 'FRACTION Town Nature Water Sea': not an ECOCLIMAP cover file")
    return _ecoclimap_table(surfaces, vegtypes, path)


def _ecoclimap_table(
    surfaces: dict[int, dict[str, float]], vegtypes: dict[int, dict[str, float]], path: Path
) -> CoverTable:
    covers = sorted(cover for cover, parts in surfaces.items() if any(parts.values()))  # some numbers are not in use
    patches = np.zeros((len(covers), PATCHES))
    for row, cover in enumerate(covers):
        nature = surfaces[cover]["NATURE"]
        _check_sum(surfaces[cover], f"{path}: cover {cover}")
        if nature == 0.0:
            continue
        if cover not in vegtypes:
            raise IngestError(f"{path}: cover {cover} has nature but no fractions of vegetation types")
        unknown = set(vegtypes[cover]) - VEGTYPE_PATCH.keys()
        if unknown:
            raise IngestError(f"{path}: cover {cover} has unknown vegetation types {', '.join(sorted(unknown))}")
        total = _check_sum(vegtypes[cover], f"{path}: vegetation types of cover {cover}")
        for name, fraction in vegtypes[cover].items():
            patches[row, VEGTYPE_PATCH[name] - 1] += nature * fraction / total
    water = np.array([surfaces[cover]["WATER"] + surfaces[cover]["SEA"] for cover in covers])
    urban = np.array([surfaces[cover]["TOWN"] for cover in covers])
    return CoverTable(np.array(covers, dtype=np.int64), water, urban, patches, patches)


def _check_sum(parts: dict[str, float], where: str) -> float:
    total = sum(parts.values())
    if abs(total - 1.0) > _ROUNDING:
        raise IngestError(f"{where}: the fractions sum to {total:g}, not 1")
    return total
