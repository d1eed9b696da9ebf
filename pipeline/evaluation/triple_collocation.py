"""Errors of three series of one quantity, of which none is taken as the truth (triple collocation).

Each series is x_i = a_i + b_i t + e_i of an unknown truth t, with errors that depend neither on it nor on each other.
Then cov(x_i, x_j) = b_i b_j var(t), and three covariances give what each series has of the truth and of errors:
Stoffelen (1998), doi:10.1029/97JC03180; McColl et al. (2014), doi:10.1002/2014GL061322, for the correlation with the
truth.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation.blocks import CellBlock
from ldas.pipeline.evaluation.plan import Comparison, Plan, Series
from ldas.pipeline.evaluation.reading import Reader, group_names
from ldas.pipeline.evaluation.stations import SHALLOWEST_DEPTH, Station, find_stations, observations_of, run_at
from ldas.pipeline.settings.assimilation import MODEL_VARIABLE
from ldas.pipeline.store.arrays import existing_group

MINIMUM_TRIPLETS = 100
SOIL_MOISTURE = "WG2"


class TripleCollocation(NamedTuple):
    """number of triplets (...); of each series (series, ...): error, the standard deviation of its error in its own
    unit; scaled_error, the same in the unit of the first series; r, its correlation with the truth."""

    number: Array
    error: Array
    scaled_error: Array
    r: Array


def triple_collocation(series: Array, minimum: int = MINIMUM_TRIPLETS) -> TripleCollocation:
    """Errors of three series of one quantity.

    Args:
        series: (series, time, ...), NaN where missing; a time counts where all three are there.
        minimum: fewest triplets.

    Returns:
        NaN with fewer triplets, where a covariance is not positive (they have no truth in common), and for a series
        whose error variance is negative (its errors are not independent of the others').
    """
    there = np.isfinite(series).all(axis=0)
    number = there.sum(axis=0).astype(np.float64)
    enough = number >= max(minimum, 2)
    divisor = np.where(enough, number, 1.0)
    mean = np.where(there, series, 0.0).sum(axis=1) / divisor
    anomaly = np.where(there, series - mean[:, None], 0.0)
    covariance = np.einsum("it...,jt...->ij...", anomaly, anomaly) / np.where(enough, number - 1.0, 1.0)
    others = ((1, 2), (0, 2), (0, 1))
    usable = enough & np.all([covariance[pair] > 0.0 for pair in others], axis=0)

    def ratio(top: Array, bottom: Array) -> Array:
        return np.divide(top, bottom, out=np.full(number.shape, np.nan), where=usable)

    signal = np.stack([ratio(covariance[i, j] * covariance[i, k], covariance[j, k]) for i, (j, k) in enumerate(others)])
    variance = np.stack([covariance[i, i] for i in range(3)])
    error = np.sqrt(np.where(variance >= signal, variance - signal, np.nan))
    scale = np.sqrt(signal[0] / signal)
    r = np.sqrt(np.where(variance >= signal, signal / np.where(variance > 0.0, variance, 1.0), np.nan))
    return TripleCollocation(number, error, scale * error, r)


def evaluate_triples(reader: Reader, plan: Plan) -> dict[str, xr.Dataset]:
    """Soil moisture of the open loop, a satellite and a station, at every station: `triple_<network>_<observation>`."""
    if plan.open_loop is None or SOIL_MOISTURE not in plan.experiment(plan.open_loop).variables:
        return {}
    satellites = [plan.comparison(f"{name}_observations") for name, of in MODEL_VARIABLE.items() if of == SOIL_MOISTURE]
    found = {}
    for network in group_names(reader.root, "insitu"):
        if "soil_moisture" not in existing_group(reader.root, f"insitu/{network}"):
            continue
        stations = [
            station
            for station in find_stations(reader.root)
            if station.network == network and station.cell is not None and (station.depth or 0.0) <= SHALLOWEST_DEPTH
        ]
        for satellite in satellites:
            if stations and satellite is not None:
                found[f"triple_{network}_{satellite.observation}"] = _at_stations(reader, plan, stations, satellite)
    return {name: scores for name, scores in found.items() if np.isfinite(scores["r"]).any()}


def _at_stations(reader: Reader, plan: Plan, stations: list[Station], satellite: Comparison) -> xr.Dataset:
    assert plan.open_loop is not None
    run, triplets = Series(plan.open_loop, "run"), []
    for station in stations:
        assert station.cell is not None
        seen = CellBlock(reader, plan, slice(station.cell, station.cell + 1)).reference(satellite)[:, 0]
        model = run_at(reader, plan, run, SOIL_MOISTURE, station)
        triplets.append([model, seen, observations_of(reader, plan, station, "soil_moisture")])
    result = triple_collocation(np.array(triplets).transpose(1, 2, 0))
    parts = {name: (("series", "station"), getattr(result, name)) for name in ("error", "scaled_error", "r")}
    labels = [plan.open_loop, str(satellite.observation), stations[0].network]
    return xr.Dataset({"n": ("station", result.number), **parts}).assign_coords(
        series=np.array(labels, dtype=object),
        code=("station", np.array([station.code for station in stations], dtype=object)),
    )
