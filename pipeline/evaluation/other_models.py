"""Runs beside measurements that this project did not make, and beside two other land models at the same sites.

The PLUMBER2 tables have the scores of ecLand (CY50R1) and JULES (GL9) at half-hourly steps, and the mean annual cycle
of each month. Half-hourly and daily scores do not match, monthly means do: they are what is put side by side.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline.evaluation import metrics
from ldas.pipeline.evaluation.errors import EvaluationError
from ldas.pipeline.evaluation.plan import series_with
from ldas.pipeline.evaluation.scores import Scores
from ldas.pipeline.evaluation.stations import monthly_cycle, observations_of, run_at
from ldas.pipeline.store.arrays import existing_group

#: Name of a flux in PLUMBER2 -> in the registry; carbon is left out, because the table's unit is not stated.
FLUXES = {"Qle": "LE", "Qh": "H"}
OTHER_MODELS = ("ecland", "jules")
SETUP_DIFFERENCES = (
    "ecLand and JULES were driven by the half-hourly weather of the tower, with the vegetation of their own global "
    "maps, and averaged over the half hours that were measured; our run is driven by what its configuration says (at "
    "Puechabon the daily record, disaggregated to hours), with the vegetation type of the site, and averaged over "
    "days. Years and gaps differ too, so each model is compared with the observations of its own sample."
)
CHAMPAIGN_UTC_OFFSET_H = -6


def read_climatology(path: Path, site: str) -> pd.DataFrame:
    """Monthly means of a site, W m-2: index (variable, month), columns `obs`, `ecland`, `jules`.

    Raises:
        EvaluationError: if the file is not that table or the site is not in it.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: cannot be read as a table of monthly means: {error}") from error
    missing = {"site", "variable", "month", "obs", *OTHER_MODELS} - set(table.columns)
    if missing:
        raise EvaluationError(f"{path}: columns {', '.join(sorted(missing))} are missing")
    mine = table[table["site"] == site]
    if mine.empty:
        raise EvaluationError(f"{path}: no site {site!r}; there are: {', '.join(sorted(table['site'].unique()))}")
    return mine.set_index(["variable", "month"]).drop(columns="site").sort_index()


def yardstick_table(
    climatology: pd.DataFrame, ours: Mapping[str, Mapping[str, Array]], observed: Mapping[str, Array]
) -> pd.DataFrame:
    """Bias, RMSD and R of the twelve monthly means of every model, each against the observations of its own sample.

    Args:
        climatology: see `read_climatology`.
        ours: name of a run -> flux (`LE`, `H`) -> monthly means (12,), W m-2.
        observed: flux -> monthly means (12,) on the same days, W m-2.

    Returns:
        Rows in the order of the fluxes, other models first.
    """
    rows = []
    for theirs, name in FLUXES.items():
        if theirs not in climatology.index.get_level_values("variable"):
            continue
        cycle = climatology.loc[theirs].reindex(range(1, 13))
        reference = cycle["obs"].to_numpy(dtype=np.float64)
        for model in OTHER_MODELS:
            rows.append(_cycle_row(name, model, cycle[model].to_numpy(dtype=np.float64), reference))
        if name in observed:
            for run, fluxes in ours.items():
                if name in fluxes:
                    rows.append(_cycle_row(name, run, fluxes[name], observed[name]))
    return pd.DataFrame(rows)


def monthly_means(scores: Scores, code: str) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """What `yardstick_table` takes as `ours` and `observed`, of a station of an evaluated run, W m-2.

    Months of the compared period, on the days that the station measured.

    Raises:
        EvaluationError: an unknown station.
    """
    stations = [station for station in scores.stations if station.code == code]
    if not stations:
        raise EvaluationError(f"no station {code!r} in a cell of {scores.location.url}")
    reader, plan = scores.reader, scores.plan
    ours: dict[str, dict[str, Array]] = {experiment.name: {} for experiment in plan.experiments}
    observed: dict[str, Array] = {}
    for flux in FLUXES.values():
        for station in stations:
            if flux not in existing_group(scores.root, f"insitu/{station.network}"):
                continue
            measured = observations_of(reader, plan, station, flux)
            observed[flux] = monthly_cycle(plan.days, measured)
            for series in series_with(plan.experiments, flux):
                values = run_at(reader, plan, series, flux, station)
                paired = np.where(np.isfinite(measured), values, np.nan)
                ours[series.experiment][flux] = monthly_cycle(plan.days, paired)
    return ours, observed


def _cycle_row(flux: str, model: str, modelled: Array, observed: Array) -> dict[str, object]:
    scores = metrics.scores(xr.DataArray(modelled, dims="time"), xr.DataArray(observed, dims="time"))
    return {
        "flux": flux,
        "model": model,
        "months": int(scores["n"]),
        "observed mean": float(np.nanmean(observed)),
        "bias": float(scores["bias"]),
        "RMSD": float(scores["rmsd"]),
        "R": float(scores["r"]),
    }


def pair_table(pairs: Mapping[str, tuple[xr.DataArray, xr.DataArray]]) -> pd.DataFrame:
    """One row of scores per pair of series over `time` (model, measured); a pair without a common time has N = 0."""
    rows = []
    for name, (model, measured) in pairs.items():
        found = metrics.scores(model, measured)
        rows.append(
            {
                "what": name,
                "unit": str(measured.attrs.get("units", "")),
                "N": int(found["n"]),
                "bias": float(found["bias"]),
                "RMSD": float(found["rmsd"]),
                "R": float(found["r"]),
                "KGE": float(found["kge"]),
            }
        )
    return pd.DataFrame(rows)


def read_champaign(path: Path) -> xr.Dataset:
    """Half-hourly measurements of Champaign 1998: `RN`, `LE`, `H`, `GFLUX` (W m-2), at the end of the half hour, UTC.

    GFLUX is positive into the soil, as in the model.
    """
    with xr.open_dataset(path) as opened:
        stored = opened[["Rnet", "Qle", "Qh", "Qg"]].load()
    time = stored["time"].values - np.timedelta64(CHAMPAIGN_UTC_OFFSET_H, "h")
    renamed = stored.drop_vars([name for name in stored.coords if name != "time"])
    return renamed.assign_coords(time=time).rename({"Rnet": "RN", "Qle": "LE", "Qh": "H", "Qg": "GFLUX"})


def champaign_forcing(path: Path) -> xr.Dataset:
    """Forcing of Champaign 1998 with ALMA names, UTC; rain and snow together (`Rainf`), the file has no CO2.

    The record holds means over the half hour before its time; at the time itself the model is given the mean of the
    half hours before and after it, rain apart, which it takes as such. Two half hours of sunshine are missing and are
    interpolated; two wind speeds are just below 0 and are set to it.
    """
    names = ["Tair", "Qair", "Wind", "Psurf", "SWdown", "LWdown", "Rainf"]
    with xr.open_dataset(path) as opened:
        stored = opened[names].load()
    time = stored["time"].values - np.timedelta64(CHAMPAIGN_UTC_OFFSET_H, "h")
    renamed = stored.drop_vars([name for name in stored.coords if name != "time"])
    forcing = renamed.assign_coords(time=time).rename(Psurf="PSurf")
    sun, there = forcing["SWdown"], np.isfinite(forcing["SWdown"].values)
    place = np.arange(len(there))
    filled = np.interp(place, place[there], sun.values[there]).astype(sun.dtype)
    whole = forcing.assign(SWdown=sun.copy(data=filled), Wind=forcing["Wind"].clip(min=0.0, keep_attrs=True))
    return whole.assign({str(name): _at_times(item) for name, item in whole.items() if name != "Rainf"})


def _at_times(means: xr.DataArray) -> xr.DataArray:
    """Values at the times from means over the steps that end at them; the last one stays."""
    values = means.values
    return means.copy(data=np.append(0.5 * (values[:-1] + values[1:]), values[-1]).astype(values.dtype))


def read_col_de_porte(path: Path) -> xr.Dataset:
    """Daily snow of Col de Porte: `SNOW_DEPTH` (m; pit where one was dug, else sensor) and `SWE` (kg m-2; pits)."""
    with xr.open_dataset(path) as opened:
        stored = opened[["snow_depth_auto", "snow_depth_pit", "swe_pit"]].load()
    time = stored["time"].values.astype("datetime64[D]").astype("datetime64[ns]")
    stored = stored.assign_coords(time=time)
    depth = stored["snow_depth_pit"].fillna(stored["snow_depth_auto"]).assign_attrs(units="m")
    return xr.Dataset({"SNOW_DEPTH": depth, "SWE": stored["swe_pit"].assign_attrs(units="kg m-2")})


def mean_daily_cycle(series: xr.DataArray) -> Array:
    """Mean of each half hour of the UTC day (48,)."""
    slot = series["time"].dt.hour * 2 + series["time"].dt.minute // 30
    values = np.asarray(series.values, dtype=np.float64)
    means = np.full(48, np.nan)
    for index in range(48):
        part = values[(slot.values == index) & np.isfinite(values)]
        if part.size:
            means[index] = part.mean()
    return means
