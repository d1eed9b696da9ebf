"""Tables of scores: Tables 3 and 4 of Corchia et al. (2023) for any stations and experiments, and others like them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ldas.pipeline.evaluation import metrics
from ldas.pipeline.evaluation.plan import Comparison, Series, primary
from ldas.pipeline.evaluation.scores import Scores
from ldas.pipeline.evaluation.stations import Station

MOST_CELLS_BY_NAME = 12  # of a run without stations: so many are listed one by one


def places(scores: Scores) -> list[tuple[str, int]]:
    """Rows of a table: (name, cell) of each station in the domain, or of the cells themselves where they are few.

    Several stations in one cell share a row.
    """
    if scores.stations:
        cells: dict[int, list[str]] = {}
        for station in scores.stations:
            codes = cells.setdefault(_cell(station), [])
            if station.code not in codes:
                codes.append(station.code)
        return [(", ".join(codes), cell) for cell, codes in cells.items()]
    if scores.plan.cells > MOST_CELLS_BY_NAME:
        return []
    latitude, longitude = scores.centres
    return [(place_name(latitude[cell], longitude[cell]), cell) for cell in range(scores.plan.cells)]


def _cell(station: Station) -> int:
    assert station.cell is not None
    return station.cell


def place_name(latitude: float, longitude: float) -> str:
    """`43.625N 0.875E`."""
    return f"{abs(latitude):g}{'N' if latitude >= 0 else 'S'} {abs(longitude):g}{'E' if longitude >= 0 else 'W'}"


def score_table(scores: Scores, comparison: Comparison) -> pd.DataFrame:
    """One row per station: RMSD and R of each experiment, N, and the differences from the open loop.

    Columns as in Tables 3 and 4: `station`, `<experiment> RMSD`, `<experiment> R`, `N`, `<experiment> dRMSD`,
    `<experiment> dR`; RMSD in the unit in `attrs["unit"]`, absent where reference and model have different units. Last
    row: the median over all cells.
    """
    found = scores.dataset(comparison.name)
    shown = primary(comparison.series)
    reference = scores.open_loop(shown)
    parts = [name for name in ("rmsd", "r") if name in found]
    rows = [_row(name, found.isel(cell=cell), shown, reference, parts) for name, cell in places(scores)]
    if scores.plan.cells > 1:
        rows.append(_median_row(found, shown, reference, parts))
    table = pd.DataFrame(rows)
    table.attrs["unit"] = comparison.unit
    return table


PATCHES = (
    "bare soil",
    "rock",
    "permanent snow",
    "broadleaf trees",
    "conifers",
    "evergreen broadleaf trees",
    "C3 crops",
    "C4 crops",
    "irrigated crops",
    "grassland",
    "tropical grassland",
    "wetland",
)


def patch_name(index: int) -> str:
    """Name of a patch (from 0), the 12 patches of ISBA."""
    return PATCHES[index] if index < len(PATCHES) else f"patch {index + 1}"


_TITLES = {"rmsd": "RMSD", "r": "R"}


def _row(
    name: str, scores: xr.Dataset, shown: Sequence[Series], reference: Series | None, parts: Sequence[str]
) -> dict[str, object]:
    row: dict[str, object] = {"station": name}
    values = {(one.label, part): float(scores[part].sel(series=one.label)) for one in shown for part in parts}
    for part in parts:
        row.update({f"{one.label} {_TITLES[part]}": values[one.label, part] for one in shown})
    row["N"] = int(np.nanmax(scores["n"].values, initial=0))
    for one in shown:
        if reference is not None and one != reference:
            for part in parts:
                difference = values[one.label, part] - values[reference.label, part]
                row[f"{one.label} d{_TITLES[part]}"] = difference
    return row


def _median_row(
    scores: xr.Dataset, shown: Sequence[Series], reference: Series | None, parts: Sequence[str]
) -> dict[str, object]:
    row: dict[str, object] = {"station": "median of all cells"}
    for part in parts:
        for one in shown:
            row[f"{one.label} {_TITLES[part]}"] = median(scores[part].sel(series=one.label).values)
    counts = scores["n"].max("series").values
    row["N"] = int(median(counts[counts > 0])) if (counts > 0).any() else 0
    for one in shown:
        if reference is not None and one != reference:
            for part in parts:
                both = scores[part].sel(series=one.label) - scores[part].sel(series=reference.label)
                row[f"{one.label} d{_TITLES[part]}"] = median(both.values)
    return row


def median(values: np.ndarray) -> float:
    """Median of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def station_table(scores: Scores) -> pd.DataFrame:
    """Every station, variable and series: N, bias, RMSD, ubRMSD, R with its 95 % limits, Kling-Gupta efficiency."""
    rows = []
    for name in scores.groups:
        if not name.startswith("station_"):
            continue
        found = scores.dataset(name)
        for place in range(found.sizes["station"]):
            for label in found["series"].values:
                one = found.isel(station=place).sel(series=label)
                rows.append(
                    {
                        "station": str(one["code"].item()),
                        "network": str(found.attrs["network"]),
                        "variable": str(found.attrs["variable"]),
                        "unit": str(found["rmsd"].attrs.get("units", "")),
                        "experiment": str(label),
                        "N": int(one["n"]),
                        "bias": float(one["bias"]),
                        "RMSD": float(one["rmsd"]),
                        "ubRMSD": float(one["ubrmsd"]),
                        "R": float(one["r"]),
                        "R low": float(one["r_low"]),
                        "R high": float(one["r_high"]),
                        "KGE": float(one["kge"]),
                    }
                )
    return pd.DataFrame(rows)


def patch_table(scores: Scores, comparison: Comparison, patch_fraction: xr.DataArray) -> pd.DataFrame:
    """Median RMSD and R over the cells of each dominant patch, one row a patch that occurs."""
    found = scores.dataset(comparison.name)
    shown = [one.label for one in primary(comparison.series)]
    parts = {name: metrics.by_dominant_patch(found[name], patch_fraction) for name in ("rmsd", "r") if name in found}
    rows = []
    for patch in range(patch_fraction.sizes["patch"]):
        cells = int(next(iter(parts.values()))["cells"].isel(patch=patch).max())
        if not cells:
            continue
        row: dict[str, object] = {"dominant patch": patch_name(patch), "cells": cells}
        for name, part in parts.items():
            for label in shown:
                row[f"{label} {_TITLES[name]}"] = float(part["median"].isel(patch=patch).sel(series=label))
        rows.append(row)
    return pd.DataFrame(rows)
