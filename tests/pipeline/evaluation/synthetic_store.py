"""Small stores of made-up numbers, with what is in them known: SYNTHETIC, for tests of evaluation and report only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from ldas.assim.quality import Quality
from ldas.operators.cells import cell_ids_from_coordinates
from ldas.operators.water_cloud import WaterCloudOperator
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import open_store, write_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import periods_of
from ldas.pipeline.store.operator_store import write_operator
from ldas.pipeline.store.provenance import provenance
from ldas.pipeline.store.template import ArraySpec, create_template

START = np.datetime64("2015-01-01", "D")
HOUR = 9
FLUXES = ("LE", "H", "GPP", "EVAP", "DRAINAGE", "RUNOFF")


@dataclass(frozen=True)
class Synthetic:
    """How the store is made: `error` is that of the analysed runs relative to the open loop's (1: equal)."""

    rows: int = 4
    columns: int = 5
    days: int = 400
    open_loop_days_before: int = 365
    error: float = 0.5
    seed: int = 7
    truth: bool = False
    operator: bool = True
    stations: bool = True
    forcing: bool = True
    second_experiment: bool = True
    cells_per_block: int = 8
    incomplete: bool = False
    forecasts: bool = False


def make_store(folder: Path, options: Synthetic | None = None) -> Path:
    """A store `synthetic.zarr` in a folder."""
    options = options or Synthetic()
    path = folder / "synthetic.zarr"
    _Maker(open_store(path, "a"), options).make()
    return path


class _Maker:
    """Made-up nature: a seasonal cycle, a slow random soil moisture, and runs that differ from it by a known error."""

    def __init__(self, root: zarr.Group, options: Synthetic) -> None:
        self.root, self.options = root, options
        self.random = np.random.default_rng(options.seed)
        north = 42.125 + 0.25 * np.arange(options.rows)
        east = -1.875 + 0.25 * np.arange(options.columns)
        latitude, longitude = np.meshgrid(north, east, indexing="ij")
        keep = np.ones(latitude.size, dtype=bool)
        keep[-1] = latitude.size == 1  # one masked corner, so that cells are a packed axis
        self.latitude, self.longitude = latitude.ravel()[keep], longitude.ravel()[keep]
        self.cells = len(self.latitude)
        self.total_days = options.days + options.open_loop_days_before
        self.days = START - options.open_loop_days_before + np.arange(self.total_days)

    def make(self) -> None:
        """Writes all groups."""
        self._land()
        nature = self._nature()
        open_loop = self._run(nature, error=1.0)
        self._operator(open_loop)
        self._observations(nature)
        if self.options.truth:
            write_group(self.root, "truth", self._dataset(nature, self.days), attributes={"synthetic": True})
        if self.options.forcing:
            self._forcing()
        self._write_run("open_loop", open_loop, self.days)
        self._analysed("ekf", nature, open_loop, ("sigma40",))
        if self.options.second_experiment:
            self._analysed("ekf_swi_lai", nature, open_loop, ("lai", "swi"))
        if self.options.forecasts:
            self._forecasts(nature)
        if self.options.stations:
            self._stations(nature)

    def _land(self) -> None:
        fraction = self.random.dirichlet(np.ones(4), size=self.cells)
        patches = np.zeros((self.cells, 12))
        patches[:, [4, 6, 7, 9]] = fraction  # broadleaf deciduous trees ..., as the patches of ECOCLIMAP are numbered
        dataset = xr.Dataset(
            {
                "elevation": ("cell", 200 + 300 * self.random.random(self.cells)),
                "clay": ("cell", np.full(self.cells, 0.25)),
                "sand": ("cell", np.full(self.cells, 0.45)),
                "patch_fraction": (("cell", "patch"), patches),
                "latitude": ("cell", self.latitude),
                "longitude": ("cell", self.longitude),
            }
        )
        write_group(self.root, "land", dataset, attributes={"synthetic": True})

    def _smooth(self, memory: float) -> np.ndarray:
        noise = self.random.normal(size=(self.total_days, self.cells))
        values = np.zeros_like(noise)
        for day in range(1, self.total_days):
            values[day] = memory * values[day - 1] + np.sqrt(1 - memory**2) * noise[day]
        return values

    def _nature(self) -> dict[str, np.ndarray]:
        season = np.sin(2 * np.pi * (np.arange(self.total_days)[:, None] - 110) / 365.25)
        leaf = np.clip(1.8 + 1.4 * season + 0.2 * self._smooth(0.98), 0.2, None)
        water = np.clip(0.25 - 0.06 * season + 0.04 * self._smooth(0.9), 0.06, 0.45)
        warm = 285.0 + 9.0 * season + 2.0 * self._smooth(0.8)
        return {"LAI": leaf, "WG2": water, "TG2": warm}

    def _run(self, nature: dict[str, np.ndarray], error: float) -> dict[str, np.ndarray]:
        """A run whose departures from nature are `error` times those of the open loop."""
        random = np.random.default_rng(self.options.seed + 1)  # the same departures for every run

        def off(scale: float, memory: float) -> np.ndarray:
            noise = random.normal(size=(self.total_days, self.cells))
            for day in range(1, self.total_days):
                noise[day] = memory * noise[day - 1] + np.sqrt(1 - memory**2) * noise[day]
            return error * scale * noise

        leaf = np.clip(nature["LAI"] + error * 0.5 + off(0.3, 0.97), 0.1, None)
        water = np.clip(nature["WG2"] + off(0.03, 0.8), 0.05, 0.5)
        warm = nature["TG2"] + off(0.5, 0.5)
        evaporation = np.clip(2.5e-5 * leaf / 2.0, 0, None)
        return {
            "LAI": leaf,
            "WG2": water,
            "TG2": warm,
            "LE": 2.5e6 * evaporation,
            "H": 40.0 + 0.5 * (warm - 285.0),
            "GPP": 2.0e-7 * leaf,
            "EVAP": evaporation,
            "DRAINAGE": np.full_like(leaf, 4.0e-6),
            "RUNOFF": np.full_like(leaf, 2.0e-6),
        }

    def _operator(self, run: dict[str, np.ndarray]) -> None:
        """A calibrated water cloud model, which stands for the network; it makes the observations too."""
        x = np.stack([run["WG2"].T, run["LAI"].T], axis=-1)
        sigma = -15.0 + 22.0 * x[..., 0] + 0.4 * x[..., 1]
        self.operator = WaterCloudOperator().fit(
            x, sigma, cell_ids=cell_ids_from_coordinates(self.latitude, self.longitude)
        )
        if self.options.operator:
            end = START - 1
            windows = {"training": (str(self.days[0]), str(end)), "test": (str(START), str(self.days[-1]))}
            write_operator(self.root, "sigma40", self.operator, windows=windows)

    def _sigma(self, run: dict[str, np.ndarray]) -> np.ndarray:
        return self.operator.predict(np.stack([run["WG2"].T, run["LAI"].T], axis=-1)).T

    def _observations(self, nature: dict[str, np.ndarray]) -> None:
        sigma = self._sigma(nature) + 0.2 * self.random.normal(size=nature["LAI"].shape)
        self.sigma_quality = np.where(self.random.random(sigma.shape) < 0.15, Quality.MISSING, Quality.USED)
        sigma[self.sigma_quality == Quality.MISSING] = np.nan
        dekads = self.days[5::10]
        leaf = nature["LAI"][5::10] * (1 + 0.1 * self.random.normal(size=(len(dekads), self.cells)))
        wetness = np.clip((nature["WG2"] - 0.05) / 0.4 + 0.03 * self.random.normal(size=sigma.shape), 0, 1)
        self._write_observations("sigma40", self.days, sigma, self.sigma_quality, "dB")
        self._write_observations("lai", dekads, leaf, np.zeros(leaf.shape), "m2 m-2")
        self._write_observations("swi", self.days, wetness, np.zeros(sigma.shape), "1")

    def _write_observations(
        self, name: str, days: np.ndarray, values: np.ndarray, quality: np.ndarray, unit: str
    ) -> None:
        dims = ("time", "cell")
        dataset = xr.Dataset(
            {
                "value": (dims, values.astype("float32"), {"units": unit}),
                "quality": (dims, quality.astype("int8")),
            },
            coords={"time": days.astype("datetime64[ns]")},
        )
        write_group(self.root, f"observations/{name}", dataset, attributes={"synthetic": True})

    def _forcing(self) -> None:
        hours = self.days[0].astype("datetime64[h]") + np.arange(24 * self.total_days + 1)
        rain = np.full((len(hours), self.cells), 2.0e-5)
        rain[0] = np.nan  # belongs to the hour before the first
        dataset = xr.Dataset(
            {"Rainf": (("time", "cell"), rain), "Snowf": (("time", "cell"), np.zeros_like(rain))},
            coords={"time": hours.astype("datetime64[ns]")},
        )
        write_group(self.root, "forcing", dataset.astype("float32"), chunks={"time": 8784}, attributes={"synthetic": 1})

    def _dataset(self, values: dict[str, np.ndarray], days: np.ndarray) -> xr.Dataset:
        return xr.Dataset(
            {name: (("time", "cell"), array.astype("float32")) for name, array in values.items()},
            coords={"time": days.astype("datetime64[ns]")},
        )

    def _write_run(self, name: str, values: dict[str, np.ndarray], days: np.ndarray) -> None:
        configuration = {
            "name": "synthetic",
            "description": "made for tests",
            "synthetic": True,
            "period": {"start": str(days[0])},
        }
        block = min(self.options.cells_per_block, self.cells)
        create_template(
            self.root,
            f"runs/{name}",
            {key: ArraySpec(("time", "cell"), "int8" if key.startswith("quality_") else "float32") for key in values},
            coordinates={
                "time": (("time",), days.astype("datetime64[s]")),
                "cell": (("cell",), np.arange(self.cells)),
            },
            chunks={"time": 366, "cell": block},
            attributes={**provenance(configuration), "analysis_hour_utc": HOUR},
        )
        done = len(days) // 2 if self.options.incomplete and name != "open_loop" else len(days)
        kept = {}
        for key, array in values.items():
            typed = array.astype("int8" if key.startswith("quality_") else "float32")
            if done < len(days):
                typed[done:] = 0 if typed.dtype.kind == "i" else np.nan
            kept[key] = typed
        write_region(self.root, f"runs/{name}", kept, {})
        periods = periods_of(days[0].astype("datetime64[s]"), len(days), -(-len(days) // 2))
        ledger.create(
            self.root, name, periods=periods, cells=self.cells, cells_per_block=block, identity={"name": name}
        )
        status = np.full((len(periods), self.cells), ledger.DONE, dtype="int8")
        if done < len(days):
            status[1:] = ledger.NOT_STARTED
        write_region(self.root, f"ledger/{name}", {"status": status}, {})

    def _analysed(
        self, name: str, nature: dict[str, np.ndarray], open_loop: dict[str, np.ndarray], observed: tuple[str, ...]
    ) -> None:
        run = self._run(nature, self.options.error)
        analysis = self._run(nature, 0.8 * self.options.error)
        inside = slice(self.options.open_loop_days_before, None)
        values = {key: array[inside] for key, array in run.items()}
        for key in FLUXES:  # means over the 24 h up to the analysis hour: most of them lies in the day before
            values[key] = np.roll(run[key], 1, axis=0)[inside]
        for key in ("LAI", "WG2", "TG2"):
            values[f"{key}_forecast"] = run[key][inside]
            values[key] = analysis[key][inside]
        if "sigma40" in observed:
            values["sigma40_forecast"] = self._sigma(run)[inside]
            values["sigma40"] = self._sigma(analysis)[inside]
        for kind in observed:
            innovation = 0.3 * np.random.default_rng(3).normal(size=values["LAI"].shape)
            quality = np.zeros(innovation.shape, dtype="int8")
            quality[:20] = Quality.MASKED_FROZEN
            if kind == "lai":
                quality[np.arange(len(quality)) % 10 != 0] = Quality.MISSING
            innovation[quality != 0] = np.nan
            values[f"innovation_{kind}"] = innovation
            values[f"linear_residual_{kind}"] = 0.25 * innovation
            values[f"dfs_{kind}"] = 0.75 * np.isfinite(innovation)
            values["chi_square"] = 2.0 * np.isfinite(innovation)
            values[f"quality_{kind}"] = quality
        for control, scale in (("WG2", 0.002), ("LAI", 0.02)):
            values[f"increment_{control}"] = scale * np.random.default_rng(4).normal(size=values["LAI"].shape)
        self._write_run(name, values, self.days[inside])

    def _forecasts(self, nature: dict[str, np.ndarray]) -> None:
        """Four days from every fifth analysis of `ekf`, further from nature day by day; some end after the runs."""
        first, leads = self.options.open_loop_days_before, np.arange(1, 5)
        starts = np.arange(first, self.total_days, 5)
        valid = np.minimum(starts[:, None] + leads, self.total_days - 1)
        dims = ("reference_time", "lead_day", "cell")
        off = {"LAI": 0.1, "WG2": 0.01, "TG2": 0.2}
        noise = 1.0 + self.random.normal(size=(*valid.shape, self.cells))
        dataset = xr.Dataset(
            {
                name: (dims, (nature[name][valid] + size * leads[:, None] * noise).astype("float32"))
                for name, size in off.items()
            },
            coords={
                "reference_time": (self.days[starts] + np.timedelta64(HOUR, "h")).astype("datetime64[ns]"),
                "lead_day": leads,
            },
        )
        write_group(self.root, "forecasts/ahead", dataset, attributes={"from_run": "ekf", "analysis_hour_utc": HOUR})

    def _stations(self, nature: dict[str, np.ndarray]) -> None:
        chosen = sorted({0, self.cells // 2, self.cells - 1})
        codes = ["AAA", "BBB", "CCC"][: len(chosen)]
        dims = ("station", "time")
        moisture = nature["WG2"][:, chosen].T + 0.01 * self.random.normal(size=(len(chosen), self.total_days))
        outside = np.full((1, self.total_days), 0.2)
        dataset = xr.Dataset(
            {"soil_moisture": (dims, np.concatenate([moisture, outside]).astype("float32"), {"units": "m3 m-3"})},
            coords={
                "time": self.days.astype("datetime64[ns]"),
                "latitude": ("station", [*(self.latitude[chosen] + 0.03), 60.0]),
                "longitude": ("station", [*(self.longitude[chosen] - 0.04), 10.0]),
                "depth": ("station", [0.05] * (len(chosen) + 1)),
                "code": ("station", np.array([*codes, "FAR"], dtype=object)),
            },
        )
        write_group(self.root, "insitu/SYNTHETIC", dataset, attributes={"synthetic": True})
        cell = chosen[0]
        tower = {
            "LE": 2.5e6 * 1.25e-5 * nature["LAI"][:, [cell]],
            "H": 40.0 + 0.5 * (nature["TG2"][:, [cell]] - 285.0),
            "GPP": 2.0e-7 * nature["LAI"][:, [cell]],
            "LAI": nature["LAI"][:, [cell]],
        }
        units = {"LE": "W m-2", "H": "W m-2", "GPP": "kg CO2 m-2 s-1", "LAI": "m2 m-2"}
        flux = xr.Dataset(
            {
                name: (("time", "station"), values.astype("float32"), {"units": units[name]})
                for name, values in tower.items()
            },
            coords={
                "time": self.days.astype("datetime64[ns]"),
                "latitude": ("station", self.latitude[[cell]]),
                "longitude": ("station", self.longitude[[cell]]),
                "code": ("station", np.array(["TWR"], dtype=object)),
                "cell": ("station", [cell]),
            },
        )
        write_group(self.root, "insitu/TOWER", flux, attributes={"synthetic": True})
