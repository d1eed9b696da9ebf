"""The vegetation types of SURFEX and their parameters, read from the tables of this folder (docs/science/parameters.md,
sections 1 to 5)."""

import csv
from functools import cache
from importlib.resources import files

VEGETATION_OF_PATCH = ("NO", "ROCK", "SNOW", "TEBD", "TENE", "TRBE", "C3", "C4", "IRR", "GRAS", "TROG", "PARK")
"""Vegetation type that stands for each of the 12 patches (OWN for patches 4 and 5, mixtures in ECOCLIMAP)."""

PATCH_NAMES = (
    "bare soil",
    "rock and urban",
    "permanent snow and ice",
    "broadleaf trees",
    "coniferous trees",
    "tropical broadleaf evergreen",
    "C3 crops",
    "C4 crops",
    "irrigated crops",
    "C3 grassland",
    "C4 grassland",
    "wetland",
)


@cache
def vegetation_table() -> dict[str, dict[str, float]]:
    """Parameters of every vegetation type by SURFEX name; units and sources are in `tables/*.csv`."""
    by_type: dict[str, dict[str, float]] = {}
    for row in _read("vegetation.csv"):
        for code, value in _values(row).items():
            by_type.setdefault(code, {})[row["parameter"]] = float(value)
    pathways = {"C3": {}, "C4": {}}  # type: dict[str, dict[str, float]]
    for row in _read("photosynthesis.csv"):
        for code, value in _values(row).items():
            pathways[code][row["parameter"]] = float(value)
    for values in by_type.values():
        values.update(pathways["C4" if values["C4"] > 0 else "C3"])
    return by_type


def _read(name: str) -> list[dict[str, str]]:
    with (files("ldas.landmodel") / "tables" / name).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


def _values(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key not in ("parameter", "unit", "source")}
