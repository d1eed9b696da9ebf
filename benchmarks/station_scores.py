"""Scores of a run at one station with their 95 % intervals, beside other products: the figures of docs/hawaii.md.

STORE is the finished run of `examples/hawaii.yaml` or `examples/kemole.yaml`; PRODUCTS the folder with the time series
of SMAP, ERA5-Land and GLDAS, without which their tables are left out. Every interval is that of a moving-block
bootstrap over days (blocks of 30 days, 500 samples, a fixed seed). `without season` are the departures from the
five-week moving mean, as `ldas.pipeline.evaluation.metrics.anomaly_correlation` has them. `gain of R` is over the first
row. Backscatter is compared by window (24 hours up to the analysis): where overpasses are kept apart, their mean.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from ldas.landmodel.array_types import Array, Days, IntArray
from ldas.landmodel.soil_properties import LAYER_BOTTOMS
from ldas.operators.scores import predict_where_observed
from ldas.pipeline.evaluation import metrics
from ldas.pipeline.evaluation.plan import analysis_hour
from ldas.pipeline.evaluation.reading import (
    Reader,
    attributes,
    cell_centres,
    group_names,
    mean_of_overpasses,
    operator_names,
    operator_positions,
    read_operator_part,
)
from ldas.pipeline.settings.assimilation import state_name
from ldas.pipeline.stages.labels import instants
from ldas.pipeline.stages.observations import days_of_group, good_values, read_observations, values_of_windows
from ldas.pipeline.store.arrays import dimensions, existing_array, open_store, read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.operator_store import matches_overpasses

BLOCK_DAYS, SAMPLES, SEED = 30, 500, 20180101
LEAST_DAYS = 100  # of a score
HERE = slice(0, 1)  # the one cell
# From the first long gap of the weather (examples/hawaii/forcing.yaml) to a month after the last: nothing is compared.
OTHER_WEATHER = (np.datetime64("2014-09-04"), np.datetime64("2015-10-20"))
Series = dict[str, Array]


def sampled_days(days: int, per_day: int = 1) -> IntArray:
    """Places of the values in each sample of the bootstrap, (sample, value), `per_day` values following each other."""
    random = np.random.default_rng(SEED)
    starts = random.integers(0, max(days - BLOCK_DAYS, 1), size=(SAMPLES, -(-days // BLOCK_DAYS)))
    places = (starts[:, :, None] + np.arange(BLOCK_DAYS)).reshape(SAMPLES, -1)[:, :days]
    chosen = np.minimum(places, days - 1)[:, :, None] * per_day + np.arange(per_day)
    return np.asarray(chosen.reshape(SAMPLES, -1), dtype=np.int64)


def departures(values: Array, paired: np.ndarray) -> Array:
    """From the centred five-week mean over the paired days, (day,); NaN where fewer than five are in it."""
    days = pd.date_range("2000-01-01", periods=len(values))
    series = pd.Series(np.where(paired, values, np.nan), index=days)
    mean = series.rolling("35D", center=True, min_periods=metrics.ANOMALY_MINIMUM_IN_WINDOW).mean()
    return np.asarray((series - mean).to_numpy(), dtype=np.float64)


def score(model: Array, reference: Array) -> dict[str, tuple[float, float, float]]:
    """Bias, ubRMSD, RMSD, R, and R without season, each with its limits; two daily series on one axis of days."""
    paired = np.isfinite(model) & np.isfinite(reference)
    places = sampled_days(len(model))
    found = _with_limits(model, reference, places, ("bias", "ubrmsd", "rmsd", "r"))
    short = [departures(series, paired) for series in (model, reference)]
    found["r without season"] = _with_limits(short[0], short[1], places, ("r",))["r"]
    return found


def _with_limits(
    model: Array, reference: Array, places: IntArray, names: tuple[str, ...]
) -> dict[str, tuple[float, float, float]]:
    one = _scores(model[None], reference[None], names)
    many = _scores(model[places], reference[places], names)
    limits = {name: np.nanquantile(many[name], (0.025, 0.975)) for name in names}
    return {name: (float(one[name][0]), float(limits[name][0]), float(limits[name][1])) for name in names}


def _scores(model: Array, reference: Array, names: tuple[str, ...]) -> dict[str, Array]:
    m, o = (xr.DataArray(values, dims=("sample", "time")) for values in (model, reference))
    found = metrics.scores(m, o, names=names)
    return {name: found[name].to_numpy() for name in names}


def gain(model: Array, other: Array, reference: Array) -> tuple[float, float, float]:
    """R of a series less R of another one with the same reference, with its limits (the days are drawn together)."""
    places = sampled_days(len(model))
    one = _scores(model[None], reference[None], ("r",))["r"] - _scores(other[None], reference[None], ("r",))["r"]
    many = [_scores(series[places], reference[places], ("r",))["r"] for series in (model, other)]
    low, high = np.nanquantile(many[0] - many[1], (0.025, 0.975))
    return float(one[0]), float(low), float(high)


def table(series: Mapping[str, Array], reference: Array, first: str) -> pd.DataFrame:
    """One row a series, on the days that all of them and the reference have; `gain` is over the series `first`."""
    common = np.isfinite(reference) & np.all([np.isfinite(values) for values in series.values()], axis=0)
    reference = np.where(common, reference, np.nan)
    rows = []
    for name, values in series.items():
        masked = np.where(common, values, np.nan)
        row: dict[str, object] = {"series": name, "N": int(common.sum())}
        if common.sum() >= LEAST_DAYS:
            row |= {key: _shown(*value) for key, value in score(masked, reference).items()}
            if name != first and first in series:
                row["gain of R"] = _shown(*gain(masked, np.where(common, series[first], np.nan), reference))
        rows.append(row)
    return pd.DataFrame(rows)


def by_season(series: Mapping[str, Array], reference: Array, days: Days) -> pd.DataFrame:
    """R of each meteorological season with its limits."""
    season = (days.astype("datetime64[M]").astype(int) % 12 + 1) % 12 // 3
    rows = []
    for name, values in series.items():
        row: dict[str, object] = {"series": name}
        for index, label in enumerate(metrics.SEASONS):
            inside = np.where(season == index, reference, np.nan)
            if (np.isfinite(inside) & np.isfinite(values)).sum() >= LEAST_DAYS // 2:
                row[label] = _shown(*_with_limits(values, inside, sampled_days(len(days)), ("r",))["r"])
        rows.append(row)
    return pd.DataFrame(rows)


def _shown(value: float, low: float, high: float) -> str:
    digits = 3 if max(abs(value), abs(low), abs(high)) < 10.0 else 1
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


class Run:
    """The runs of a store with one cell, on one axis of days."""

    def __init__(self, url: str, first: str, last: str) -> None:
        self.root: zarr.Group = open_store(Location(url))
        self.reader = Reader(self.root)
        self.days: Days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
        names = group_names(self.root, "runs")
        self.analyses = [name for name in names if name != "open_loop"]
        self.hour = analysis_hour(self.root, "open_loop")

    def daily(self, run: str, variable: str) -> Array:
        """A variable of a run, (day,); of one that keeps overpasses apart the mean over those of each window."""
        path = f"runs/{run}"
        if "overpass" in dimensions(existing_array(self.root, path, variable)):
            values = mean_of_overpasses(self.by_overpass(run, variable)[:, :, None])[:, 0]
        else:
            values = self.reader.daily(path, variable, self.days, HERE)[:, 0]
        other = (self.days >= OTHER_WEATHER[0]) & (self.days < OTHER_WEATHER[1])
        return np.where(other, np.nan, values)

    def operator_of(self, run: str) -> str | None:
        """The operator that an assimilation uses for sigma40."""
        made = attributes(self.root, f"runs/{run}")["provenance"]["configuration"]["assimilation"]
        (entry,) = (entry for entry in made if entry["name"] == run)
        return next((item.get("operator") for item in entry["observations"] if item["name"] == "sigma40"), None)

    def observed(self, name: str) -> Array:
        """Observations as the assimilation takes them, (day,)."""
        return self.reader.usable_observations(name, self.days, HERE, self.hour)[:, 0]

    def measured(self, network: str) -> Array:
        """Daily means of soil moisture of a station, (day,)."""
        return self.reader.daily(f"insitu/{network}", "soil_moisture", self.days, HERE, "station")[:, 0]

    def by_overpass(self, run: str, variable: str) -> Array:
        """A variable that a run keeps for each overpass with an observation, (day, overpass)."""
        names = (variable, "innovation_sigma40")
        path = f"runs/{run}"
        values, compared = (self.reader.at_overpasses(path, name, self.days, HERE)[:, :, 0] for name in names)
        return np.where(np.isfinite(compared), values, np.nan)

    def predicted(self, operator: str) -> Array:
        """Backscatter that an operator predicts from the open loop, (day,): at the hours it was trained for."""
        positions = operator_positions(self.root, operator, *cell_centres(self.root))
        assert positions is not None
        trained = read_operator_part(self.root, operator, positions)
        if not matches_overpasses(self.root, operator):
            inputs = np.stack([self.daily("open_loop", name) for name in trained.predictor_names], axis=-1)[None]
            return predict_where_observed(trained, inputs, np.ones((1, len(self.days))))[0]
        times, arrays = read_observations(self.root, "sigma40", Block(0, 0, 1))
        observed = good_values(arrays)
        stored = self.reader.days_of("runs/open_loop")
        rows = np.searchsorted(stored, days_of_group(self.root, "observations/sigma40").astype("datetime64[D]"))
        there = rows < len(stored)
        states = [
            read_region(self.root, "runs/open_loop", state_name(name, "sigma40"))[np.where(there, rows, 0)]
            for name in trained.predictor_names
        ]
        inputs = np.stack([np.where(there[:, None, None], part, np.nan).reshape(-1) for part in states], axis=-1)
        found = predict_where_observed(trained, inputs[None].astype(np.float64), observed.T)
        return values_of_windows(times, found.T, instants(self.days, self.hour), self.hour)[:, 0]


def backscatter(run: Run) -> dict[str, pd.DataFrame]:
    """For each operator: the open loop through it, and forecast and analysis of the assimilations with it."""
    found = {}
    for operator in operator_names(run.root, "sigma40"):
        series = {"open loop": run.predicted(operator)}
        for name in run.analyses:
            if run.operator_of(name) == operator:
                series[f"{name}, forecast"] = run.daily(name, "sigma40_forecast")
                series[f"{name}, analysis"] = run.daily(name, "sigma40")
        found[f"Backscatter 2018-2020 (dB), operator {operator}"] = table(series, run.observed("sigma40"), "open loop")
    return found


def overpass_by_overpass(run: Run) -> pd.DataFrame:
    """Each overpass by itself; a run that does not keep them apart has one value for those of a window."""
    reference = run.reader.usable_overpasses("sigma40", run.days, HERE, run.hour)[:, :, 0]
    series = {}
    for name in run.analyses:
        if run.operator_of(name) is None:
            continue
        for kind, variable in (("forecast", "sigma40_forecast"), ("analysis", "sigma40")):
            if "overpass" in dimensions(existing_array(run.root, f"runs/{name}", variable)):
                values = run.by_overpass(name, variable)[:, : reference.shape[1]]
            else:
                values = np.broadcast_to(run.daily(name, variable)[:, None], reference.shape)
            series[f"{name}, {kind}"] = values
    common = np.isfinite(reference) & np.all([np.isfinite(values) for values in series.values()], axis=0)
    places = sampled_days(len(run.days), reference.shape[1])
    rows = []
    for name, values in series.items():
        pairs = (np.where(common, part, np.nan).reshape(-1) for part in (values, reference))
        found = _with_limits(*pairs, places, ("bias", "rmsd", "r"))
        rows.append({"series": name, "N": int(common.sum()), **{key: _shown(*value) for key, value in found.items()}})
    return pd.DataFrame(rows)


def soil_moisture(run: Run, variable: str, analyses: bool = True) -> Series:
    """A layer of the open loop, and of forecasts and analyses."""
    series = {"open loop": run.daily("open_loop", variable)}
    for name in run.analyses if analyses else ():
        series[f"{name}, forecast"] = run.daily(name, f"{variable}_forecast")
        series[f"{name}, analysis"] = run.daily(name, variable)
    return series


def layer_at(depth: float) -> str:
    """The model's layer that a depth (m) lies in."""
    return f"WG{int(np.searchsorted(LAYER_BOTTOMS, depth)) + 1}"


def depths(root: zarr.Group) -> dict[str, float]:
    """Depth (m) of the sensor of each network."""
    return {name: float(read_region(root, f"insitu/{name}", "depth")[0]) for name in group_names(root, "insitu")}


def products(folder: Path, latitude: float, longitude: float, days: Days) -> dict[str, tuple[str, Array]]:
    """Surface soil moisture of other products at their nearest point: what it is and its daily means (day,)."""
    found = {}
    for label, file, name, factor in (
        ("SMAP", "SMAP_L3_V9_0165.nc", "soil_moisture", 1.0),
        ("ERA5-Land", "ERA5_LAND_0165.nc", "swvl1", 1.0),
        ("GLDAS Noah", "GLDAS_NOAH025_0165.nc", "SoilMoi0_10cm_inst", 0.01),  # kg m-2 of 0.1 m
    ):
        with xr.open_dataset(folder / file) as opened:
            north, east = opened["lat"].to_numpy() - latitude, opened["lon"].to_numpy() - longitude
            distance = np.hypot(north, east * np.cos(np.deg2rad(latitude)))
            point = int(distance.argmin())
            if "locationIndex" in opened:
                inside = opened["locationIndex"].to_numpy() == point
                values = opened[name].isel(time=np.flatnonzero(inside)).load()
            else:
                values = opened[name].isel(locations=point).load()
        series = pd.Series(factor * values.to_numpy(), index=values["time"].to_numpy()).resample("D").mean()
        text = f"{label}, {distance[point] * 111.2:.0f} km away"
        found[label] = (text, series.reindex(pd.DatetimeIndex(days)).to_numpy(dtype=np.float64))
    return found


def triple_collocation(series: Mapping[str, Array]) -> pd.DataFrame:
    """Error of each of three series without season, in the units of the first, with limits (Gruber et al. 2016)."""
    from pytesmo.metrics import tcol_metrics

    names = list(series)
    paired = np.all([np.isfinite(values) for values in series.values()], axis=0)
    short = np.array([departures(values, paired) for values in series.values()])
    good = np.isfinite(short).all(axis=0)
    whole = tcol_metrics(*short[:, good])
    errors, ratios = [], []
    for places in sampled_days(short.shape[1]):
        drawn = short[:, places]
        drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio, error, _ = tcol_metrics(*drawn)
        errors.append(error)
        ratios.append(ratio)
    rows = []
    for index, name in enumerate(names):
        row: dict[str, object] = {"series": name, "N": int(good.sum())}
        for key, value, many in (("error", whole[1], errors), ("SNR (dB)", whole[0], ratios)):
            drawn_values = np.array(many)[:, index]
            low, high = np.nanquantile(drawn_values, (0.025, 0.975))
            row[key] = _shown(float(value[index]), float(low), float(high))
        row["samples without a value"] = int(np.isnan(np.array(errors)[:, index]).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def tables(store: str, folder: Path | None) -> dict[str, pd.DataFrame]:
    """All tables of a store."""
    test = Run(store, "2018-01-01", "2020-12-31")
    whole = Run(store, "2010-06-24", "2020-12-31")
    found = backscatter(test)
    found["Backscatter 2018-2020 (dB), overpass by overpass"] = overpass_by_overpass(test)
    for network, depth in depths(test.root).items():
        layer = layer_at(depth)
        series, reference = soil_moisture(test, layer), test.measured(network)
        name = f"Soil moisture at {100 * depth:.0f} cm ({layer}) 2018-2020 (m3 m-3)"
        found[name] = table(series, reference, "open loop")
        found[f"R by season, {100 * depth:.0f} cm, 2018-2020"] = by_season(series, reference, test.days)
        long = soil_moisture(whole, layer, analyses=False)
        found[f"Soil moisture at {100 * depth:.0f} cm ({layer}), open loop 2010-2020 (m3 m-3)"] = table(
            long, whole.measured(network), "open loop"
        )
    if folder is None:
        return found
    shallow, depth = min(depths(test.root).items(), key=lambda item: item[1])
    layer = layer_at(depth)
    forecasts = {name: item for name, item in soil_moisture(test, layer).items() if not name.endswith("analysis")}
    latitude, longitude = (float(axis[0]) for axis in cell_centres(test.root))
    for label, (text, values) in products(folder, latitude, longitude, whole.days).items():
        long = soil_moisture(whole, layer, analyses=False) | {text: values}
        found[f"{label} beside the open loop, all common days"] = table(long, whole.measured(shallow), "open loop")
        now = values[-len(test.days) :]
        found[f"{label} beside the runs, common days of 2018-2020"] = table(
            forecasts | {text: now}, test.measured(shallow), "open loop"
        )
        if label == "SMAP":
            smap = now
    try:
        for name, item in {**forecasts, "ASCAT SWI-001": test.observed("swi")}.items():
            triple = {"station": test.measured(shallow), "SMAP": smap, name: item}
            found[f"Triple collocation without season: station, SMAP, {name}"] = triple_collocation(triple)
    except ImportError as error:
        print(f"no triple collocation: {error} (pip install pytesmo)")
    return found


def main() -> None:
    """Prints the tables; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--products", type=Path, metavar="PRODUCTS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables as JSON too")
    arguments = parser.parse_args()
    found = tables(arguments.store, arguments.products)
    for title, content in found.items():
        print(f"{title}\n{content.to_string(index=False)}\n")
    if arguments.json is not None:
        content = {title: json.loads(part.to_json(orient="records")) for title, part in found.items()}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
