"""Weather estimated from rain and temperature alone, compared with what was measured: the figures of docs/estimates.md.

DATA is a folder with `site_flux` (docs/evaluation.md names its files). At each site the other variables are left out
and estimated, all of them and one by one; the land model runs with each forcing, and its LE is compared with that of
the measured forcing. With `climatology` the estimation is given the site's mean wind and depression of the dew point by
month, which the record itself tells; with `aridity` the depression is that of Kimball et al. (1997), which needs no
measured humidity. At Puechabon the hours of temperature and rain are made from the daily record, whose days are
compared.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array
from ldas.pipeline.forcing import estimation, physics
from ldas.pipeline.ingest import daily
from ldas.pipeline.ingest.config import Place
from ldas.pipeline.ingest.place_record import PlaceConfig, completed
from ldas.pipeline.site.case import load_case
from ldas.pipeline.site.run import run_case

ARIDITY = {"dew_point_depression": "aridity"}
LEFT_OUT = ("vapour_pressure", "PSurf", "Wind", "SWdown", "LWdown")
MICROMOL_PER_JOULE = 2.06  # of photosynthetically active radiation in the shortwave: 0.45 x 4.57 (McCree 1972)
PUECHABON = Place(latitude=43.7414, longitude=3.5958, elevation=270.0, utc_offset_h=1)
CASE = """\
name: {name}
latitude: {latitude}
longitude: {longitude}
clay: {clay}
sand: {sand}
vegetation: {vegetation}
start: {start}
days: {days}
initial_state: {{WG: 0.3}}
forcing: {{file: forcing.nc, temperature_height_m: {height}, wind_height_m: {height}}}
output: {{variables: [LE]}}
"""


@dataclass(frozen=True)
class Site:
    """One site: its measured record (as `place_record.completed` takes it), its land; compared by day or by hour."""

    name: str
    record: xr.Dataset
    stamp: str
    elevation: float
    clay: float
    sand: float
    vegetation: str
    height: float
    by_day: bool
    runs: bool = True

    def forcing(self, left_out: tuple[str, ...] = (), **keys: Any) -> xr.Dataset:
        """The complete forcing without some of the measured variables; keys of the configuration for the estimates."""
        config = PlaceConfig.model_validate({"files": ["unused"], "gaps": {"action": "fill", "hours": 3}, **keys})
        record = self.record.drop_vars([name for name in left_out if name in self.record])
        return completed(record, self.elevation, self.stamp, config, self.name)


def champaign(folder: Path) -> Site:
    """Half hours of 1998; two wind speeds just below 0 are set to it."""
    with xr.open_dataset(folder / "US-Champaign_1998_halfhourly_forcing_fluxes.nc") as opened:
        source = opened.load()
    values = {name: source[name].to_numpy().astype(np.float64) for name in ("Tair", "Rainf", "SWdown", "LWdown")}
    pressure = source["Psurf"].to_numpy().astype(np.float64)
    values |= {"PSurf": pressure, "Wind": np.maximum(source["Wind"].to_numpy().astype(np.float64), 0.0)}
    values["vapour_pressure"] = physics.vapour_pressure(source["Qair"].to_numpy(), pressure)
    time = source["time"].to_numpy() + np.timedelta64(6, "h")  # local standard time, end of the half hour
    record = _record(values, time, 40.01, -88.37)
    return Site("Champaign 1998, hours", record, "end", 219.0, 0.25, 0.10, "C3", 6.0, by_day=False)


def puechabon(folder: Path, first: str) -> Site:
    """The daily record, disaggregated; the daily range of temperature is that of the daytime mean."""
    hourly = daily.fluxnet_daily_forcing(folder / "FLX_FR-Pue_FLUXDATAKIT_FULLSET_DD_2000_2014_2-3.csv", PUECHABON).sel(
        time=slice(f"{int(first) - 1}-12-31T23:00", None)
    )
    values = {name: hourly[name].to_numpy()[:, 0] for name in ("Tair", "PSurf", "Wind", "SWdown", "LWdown")}
    values["Rainf"] = (hourly["Rainf"] + hourly["Snowf"]).to_numpy()[:, 0]
    values["vapour_pressure"] = physics.vapour_pressure(hourly["Qair"].to_numpy()[:, 0], values["PSurf"])
    record = _record(values, hourly["time"].to_numpy(), PUECHABON.latitude, PUECHABON.longitude)
    name = f"Puechabon {first}-2014, days"
    return Site(name, record, "instant", 270.0, 0.39, 0.14, "TEBE", 12.0, by_day=True)


def puechabon_may(folder: Path) -> Site:
    """Real half hours of May 2012, shortwave from the photosynthetically active radiation; no longwave, so no run."""
    table = pd.read_csv(folder / "FR_Pue_May_2012_halfhourly.csv")
    temperature = table["Tair"].to_numpy() + physics.CELSIUS_ZERO
    deficit = 1000.0 * table["VPD"].to_numpy()
    values = {
        "Tair": temperature,
        "Rainf": table["precip"].to_numpy() / 1800.0,
        "vapour_pressure": physics.saturation_vapour_pressure(temperature) - deficit,
        "PSurf": 1000.0 * table["pressure"].to_numpy(),
        "Wind": table["wind"].to_numpy(),
        "SWdown": table["PPFD"].to_numpy() / MICROMOL_PER_JOULE,
    }
    start = np.datetime64("2012-04-30T23:00", "ns")  # local midnight
    time = start + np.arange(len(table)) * np.timedelta64(30, "m")
    record = _record(values, time, PUECHABON.latitude, PUECHABON.longitude)
    return Site("Puechabon May 2012, hours", record, "start", 270.0, 0.39, 0.14, "TEBE", 12.0, False, runs=False)


def _record(values: dict[str, Array], time: np.ndarray, latitude: float, longitude: float) -> xr.Dataset:
    return xr.Dataset(
        {name: (("time", "cell"), series[:, None]) for name, series in values.items()},
        coords={"time": time, "latitude": ("cell", [latitude]), "longitude": ("cell", [longitude])},
    )


def scores(estimated: Array, measured: Array) -> dict[str, float]:
    """R, RMSD, bias (estimated less measured), mean of the measured, and RMSD over that mean."""
    there = np.isfinite(estimated) & np.isfinite(measured)
    ours, theirs = estimated[there], measured[there]
    rmsd = float(np.sqrt(np.mean((ours - theirs) ** 2)))
    constant = ours.std() < 1e-9 * abs(ours.mean())
    return {
        "R": float("nan") if constant else float(np.corrcoef(ours, theirs)[0, 1]),
        "RMSD": rmsd,
        "bias": float(np.mean(ours - theirs)),
        "mean": float(theirs.mean()),
        "RMSD / mean": rmsd / float(theirs.mean()),
        "N": int(there.sum()),
    }


def climatology(site: Site) -> dict[str, tuple[float, ...]]:
    """Mean wind, and mean depression of the dew point below the daily minimum of temperature, by month."""
    measured = site.forcing()
    time = measured["time"].to_numpy()
    temperature = measured["Tair"].to_numpy()[:, 0]
    days = estimation.solar_days(time, float(measured["longitude"].item()))
    estimate = _dew_point(estimation.vapour_pressure(temperature, days))
    depression = estimate - _dew_point(_series(measured, "vapour_pressure"))
    month = time.astype("datetime64[M]").astype(int) % 12
    means = {"wind": _series(measured, "Wind"), "dew_point_depression": depression}
    return {name: tuple(float(values[month == item].mean()) for item in range(12)) for name, values in means.items()}


def _dew_point(vapour: Array) -> Array:
    """Inverse of `physics.saturation_vapour_pressure`."""
    logarithm = np.log(vapour / 611.21)
    return np.asarray((17.502 * 273.16 - 32.19 * logarithm) / (17.502 - logarithm))


def variables(site: Site) -> pd.DataFrame:
    """Each variable estimated from rain and temperature alone, against what was measured."""
    measured, estimated = site.forcing(), site.forcing(LEFT_OUT)
    whole_year = len(estimated["time"]) > 8000
    by_month = site.forcing(LEFT_OUT, **climatology(site)) if whole_year else estimated
    by_aridity = site.forcing(LEFT_OUT, **ARIDITY)
    rows = []
    for name in LEFT_OUT:
        if name in site.record:
            ours, theirs = (_averaged(_series(item, name), site) for item in (estimated, measured))
            rows.append({"site": site.name, "variable": name, **scores(ours, theirs)})
            if name == "vapour_pressure":
                ours = _averaged(_series(by_aridity, name), site)
                rows.append({"site": site.name, "variable": f"{name}, aridity", **scores(ours, theirs)})
            if whole_year and name in ("vapour_pressure", "Wind"):
                ours = _averaged(_series(by_month, name), site)
                rows.append({"site": site.name, "variable": f"{name}, climatology", **scores(ours, theirs)})
    return pd.DataFrame(rows)


def _series(forcing: xr.Dataset, name: str) -> Array:
    if name == "vapour_pressure":
        return physics.vapour_pressure(forcing["Qair"].to_numpy()[:, 0], forcing["PSurf"].to_numpy()[:, 0])
    return np.asarray(forcing[name].to_numpy()[:, 0], dtype=np.float64)


def _averaged(values: Array, site: Site) -> Array:
    """Means over days where the site is compared by day; its records begin at a local midnight."""
    return values[: len(values) // 24 * 24].reshape(-1, 24).mean(axis=1) if site.by_day else values


def evaporation(site: Site, folder: Path) -> pd.DataFrame:
    """Daily LE with estimated variables (all, and one by one) against that with all measured, W m-2."""
    measured = latent_heat(site, site.forcing(), folder)
    rows = []
    for left_out in (LEFT_OUT, *((name,) for name in LEFT_OUT)):
        ours = latent_heat(site, site.forcing(left_out), folder)
        what = "all" if left_out == LEFT_OUT else left_out[0]
        rows.append({"site": site.name, "estimated": what, **scores(ours, measured)})
    for what, left_out, keys in (
        ("all, aridity", LEFT_OUT, ARIDITY),
        ("vapour_pressure, aridity", ("vapour_pressure",), ARIDITY),
        ("all, climatology", LEFT_OUT, climatology(site)),
    ):
        ours = latent_heat(site, site.forcing(left_out, **keys), folder)
        rows.append({"site": site.name, "estimated": what, **scores(ours, measured)})
    return pd.DataFrame(rows)


def latent_heat(site: Site, forcing: xr.Dataset, folder: Path) -> Array:
    """LE of the model at the site, W m-2, (day,), from the same start."""
    time = forcing["time"].to_numpy()
    forcing.drop_attrs(deep=False).to_netcdf(folder / "forcing.nc")
    days = int((time[-1] - time[0]) / np.timedelta64(1, "D"))
    case = CASE.format(
        name=site.name,
        latitude=float(forcing["latitude"].item()),
        longitude=float(forcing["longitude"].item()),
        clay=site.clay,
        sand=site.sand,
        vegetation=site.vegetation,
        start=str(time[0].astype("datetime64[s]")),
        days=days,
        height=site.height,
    )
    (folder / "case.yaml").write_text(case, encoding="utf-8")
    return np.asarray(run_case(load_case(folder / "case.yaml"))["LE"].to_numpy(), dtype=np.float64)


SITES: dict[str, Callable[[Path], Site]] = {
    "champaign": champaign,
    "puechabon": lambda folder: puechabon(folder, "2000"),
    "puechabon-2006": lambda folder: puechabon(folder, "2006"),
    "puechabon-may": puechabon_may,
}


def main() -> None:
    """Prints the tables; `--json FILE` writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables as JSON too")
    arguments = parser.parse_args()
    sites = [make(arguments.data / "site_flux") for make in SITES.values()]
    with tempfile.TemporaryDirectory(prefix="ldas-estimated-") as folder:
        tables = {
            "Variables estimated from rain and temperature": pd.concat([variables(site) for site in sites]),
            "Daily LE with estimated weather, W m-2": pd.concat(
                [evaporation(site, Path(folder)) for site in sites if site.runs]
            ),
        }
    for title, table in tables.items():
        print(f"{title}\n{table.to_string(index=False, float_format=lambda value: f'{value:.3g}')}\n")
    if arguments.json is not None:
        content = {title: json.loads(table.to_json(orient="records")) for title, table in tables.items()}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
