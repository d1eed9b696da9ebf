"""The stage that makes noisy observations of the truth, or of any run of a store (an OSSE for any region)."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ldas.assim.quality import QUALITY_MEANING, Quality
from ldas.landmodel.array_types import Array, Times
from ldas.pipeline.errors import StoreError
from ldas.pipeline.evaluation.stations import cell_at
from ldas.pipeline.execution.stage import Stage
from ldas.pipeline.settings.assimilation import state_name
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.twin import TwinConfig
from ldas.pipeline.stages.land import land_checksum, read_land
from ldas.pipeline.store import cf, ledger
from ldas.pipeline.store.arrays import existing_group, has_group, open_store, read_region, read_times, write_region
from ldas.pipeline.store.groups import hide_new
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.location import Location
from ldas.pipeline.store.provenance import provenance
from ldas.pipeline.store.template import ArraySpec, create_template, extend_template
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES
from ldas.pipeline.twin.fields import DAY, Places
from ldas.pipeline.twin.geography import geography
from ldas.pipeline.twin.noisy_observations import SENSOR_DEPTH_M, Cells, Observed, Observer, lai_days
from ldas.pipeline.twin.synthetic_groups import make_room, mark_complete

OBSERVATIONS = "twin_observations"
NEEDED, USEFUL = ("WG2", "LAI"), ("WG3", "TG2", "SWE", "WGI2")
AT_OVERPASSES = ("WG2", "LAI", "TG2", "WGI2")  # states of the truth that backscatter at its own hour is made of
_LEAST_CHUNK = 366  # times: a run that grows by days has few objects
UNITS = {"sigma40": "dB", "swi": "1", "lai": "m2 m-2"}
_FLAGS = {
    "flag_values": [int(code) for code in QUALITY_MEANING],
    "flag_meanings": " ".join(code.name.lower() for code in QUALITY_MEANING),
}


@dataclass(frozen=True)
class Observations(Stage):
    """Observations of the daily states of a run, all days of a block of cells at once.

    source: group of the run. where: its store.
    """

    config: ExperimentConfig
    settings: TwinConfig
    source: str
    where: Location

    @property
    def growing_groups(self) -> Collection[str]:
        """See `Stage.growing_groups`."""
        return (*(f"observations/{name}" for name in UNITS), self._network())

    def periods(self) -> Sequence[Period]:
        """One: all days of the run."""
        days = self.days()
        return [Period(0, days[0], days[-1] + DAY, slice(0, len(days)))]

    def days(self) -> Times:
        """Days of the run (00 UTC)."""
        return read_times(open_store(self.where), self.source).astype("datetime64[D]").astype("datetime64[s]")

    def identity(self) -> Mapping[str, Any]:
        """See `Stage.identity`."""
        nature = self.settings.nature_settings()
        return {
            "source": {"group": self.source, **self._made_by()},
            "observations": nature.observations.model_dump(mode="json"),
            "seeds": {"twin": self.settings.seed, "nature": nature.seed},
            "execution": {"cells_per_block": self.cells_per_block},
        }

    def _made_by(self) -> dict[str, str]:
        """What made the run of another store: its land, and the identity of its ledger but for a later end."""
        if self.where == self.location:
            return {}
        root, run = open_store(self.where), self.source.removeprefix("runs/")
        made = ledger.stored_identity(root, run) if run in ledger.experiments(root) else {}
        made.pop("period.end", None)
        text = json.dumps([land_checksum(root), made], sort_keys=True)
        return {"made_by": hashlib.sha256(text.encode()).hexdigest()}

    def create(self, root: zarr.Group) -> None:
        """See `Stage.create`."""
        self._check_source(root)
        stations, network = self.stations(root), self._network()
        make_room(root, (*(f"observations/{name}" for name in UNITS), network))
        days = self.days()
        attributes = {
            **SYNTHETIC_ATTRIBUTES,
            **provenance(self.config.model_dump(mode="json")),
            "source": self.source,
            "complete": False,
        }
        places = {name: (("cell",), read_land(root, name)) for name in ("latitude", "longitude")}
        for name, unit in UNITS.items():
            apart = name == "sigma40" and bool(self._hours)
            dims = ("time", "overpass", "cell") if apart else ("time", "cell")
            along_time = self._along_time(name)
            overpasses = {"overpass": (("overpass",), np.arange(len(self._hours)))} if apart else {}
            create_template(
                root,
                f"observations/{name}",
                {
                    "value": ArraySpec(dims, attributes={"units": unit, "long_name": f"synthetic {name}"}),
                    "uncertainty": ArraySpec(dims, attributes={"units": unit}),
                    "quality": ArraySpec(dims, "int8", attributes=_FLAGS),
                    **({"overpass_hour": ArraySpec(dims, attributes=cf.OVERPASS_HOUR)} if apart else {}),
                },
                coordinates={**along_time, **overpasses, "cell": (("cell",), np.arange(self.cells)), **places},
                chunks={"cell": self.cells_per_block, "time": max(len(along_time["time"][1]), _LEAST_CHUNK)},
                attributes={**attributes, **({"time_label": cf.END_LABEL} if apart else {})},
            )
        if stations:
            self._create_network(root, network, stations, days, attributes)

    def _along_time(self, name: str) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Coordinates along the time of a type of observation."""
        days = self.days()
        if name == "sigma40" and self._hours:
            return {
                "time": (("time",), days + DAY),
                "time_bnds": (("time", "bnds"), np.stack([days, days + DAY], axis=1)),
                "nominal_time": (("time",), days),
            }
        return {"time": (("time",), self._instants(days[lai_days(days)] if name == "lai" else days))}

    def extend(self, root: zarr.Group, old_periods: Sequence[Sequence[str]]) -> None:
        """See `Stage.extend`: each day has its random numbers, whatever days follow."""
        self._check_source(root)
        attributes = provenance(self.config.model_dump(mode="json"))
        axes = {f"observations/{name}": self._along_time(name) for name in UNITS}
        if has_group(root, self._network()):
            axes[self._network()] = {"time": (("time",), self._instants(self.days()))}
        for path, along_time in axes.items():
            hide_new(root, path)
            existing_group(root, path).update_attributes(attributes)
            others = {name: given for name, given in along_time.items() if name != "time"}
            extend_template(root, path, "time", along_time["time"][1], others)

    def _create_network(
        self, root: zarr.Group, network: str, stations: Mapping[str, int], days: Times, attributes: Mapping[str, Any]
    ) -> None:
        known = geography().stations
        codes = list(stations)
        create_template(
            root,
            network,
            {"soil_moisture": ArraySpec(("station", "time"))},
            coordinates={
                "station": (("station",), np.arange(len(codes))),
                "time": (("time",), self._instants(days)),
                "code": (("station",), np.array(codes)),
                "latitude": (("station",), np.array([known[code].place[0] for code in codes])),
                "longitude": (("station",), np.array([known[code].place[1] for code in codes])),
                "depth": (("station",), np.full(len(codes), SENSOR_DEPTH_M)),
                "cell": (("station",), np.array(list(stations.values()))),
            },
            chunks={"station": 1, "time": max(len(days), _LEAST_CHUNK)},
            attributes=attributes,
        )

    def _check_source(self, root: zarr.Group) -> None:
        source = open_store(self.where)
        group = existing_group(source, self.source)
        needed = (*NEEDED, *(state_name(name, "sigma40") for name in AT_OVERPASSES if self._hours))
        missing = [name for name in needed if name not in group]
        if missing:
            raise StoreError(
                f"'{self.source}' of {self.where.url} does not hold {', '.join(missing)}, which observations are made "
                "of: name it in output.instant of that run"
            )
        for name in ("latitude", "longitude"):
            here, there = read_land(root, name), read_land(source, name)
            # degrees: single precision; cells without land may have no place
            if here.shape != there.shape or not np.allclose(here, there, rtol=0.0, atol=1e-4, equal_nan=True):
                raise StoreError(
                    f"the run '{self.source}' of {self.where.url} has other cells than {self.location.url}: "
                    "observations can be made of a run of the same cells only"
                )

    @property
    def _hours(self) -> tuple[float, ...]:
        return self.settings.nature_settings().observations.sigma40.overpass_hours

    def _network(self) -> str:
        return f"insitu/{self.settings.nature_settings().observations.insitu.network}"

    def stations(self, root: zarr.Group) -> dict[str, int]:
        """Codes of the stations that lie in one of the cells, with the cell."""
        latitude, longitude = (read_land(root, name) for name in ("latitude", "longitude"))
        found = {code: cell_at(*station.place, latitude, longitude) for code, station in geography().stations.items()}
        return {code: cell for code, cell in found.items() if cell is not None}

    def _instants(self, days: Times) -> Times:
        """When the run's states of these days hold; 24 UTC is written as the last second of the day that it ends."""
        source = existing_group(open_store(self.where), self.source)
        hour = int(source.attrs.get("analysis_hour_utc", self.config.model.analysis_hour_utc))  # type: ignore[arg-type]
        return days + np.timedelta64(hour * 3600 if hour else 86399, "s")

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See `Stage.compute`: made of all days, as one index has a memory; those of the period are written."""
        run, land, days = self._run(block), observed_land(root, block), self.days()
        seen = np.flatnonzero(_has_land(land))
        if not len(seen):
            for name in UNITS:
                self._write(root, name, block, period, _missing(self._shape(name, block)))
            return np.full(block.cells, ledger.DONE, dtype="int8")
        made = observer_of(self.settings, land.isel(cell=seen), days)
        run = {name: values[..., seen] for name, values in run.items()}
        sigma40 = made.sigma40_at_overpasses(self._at_overpasses(run)) if self._hours else made.sigma40(run)
        for name, observed in (("sigma40", sigma40), ("swi", made.swi(run)), ("lai", made.lai(run))):
            arrays = _missing(self._shape(name, block))
            for field, values in _arrays(observed).items():
                arrays[field][..., seen] = values
            self._write(root, name, block, period, arrays)
        for index, (code, cell) in enumerate(self.stations(root).items()):
            if block.start <= cell < block.stop and cell - block.start in seen:
                series = made.station(code, int(np.searchsorted(seen, cell - block.start)), run)
                place = {"station": slice(index, index + 1), "time": period.days}
                measured = {"soil_moisture": series[None, period.days]}
                write_region(root, self._network(), measured, place, continued="time")
        return np.full(block.cells, ledger.DONE, dtype="int8")

    def _write(self, root: zarr.Group, name: str, block: Block, period: Period, arrays: dict[str, np.ndarray]) -> None:
        """Writes the observations of a type (time of the run, [overpass,] cell) that lie in a period."""
        first, last = period.days.start, period.days.stop
        if name == "lai":
            first, last = (int(n) for n in np.searchsorted(lai_days(self.days()), (first, last)))
        if first < last or not first:
            values = {key: value[first:last] for key, value in self._with_hours(name, arrays).items()}
            region = {"time": slice(first, last), "cell": block.region}
            write_region(root, f"observations/{name}", values, region, continued="time")

    def _run(self, block: Block) -> dict[str, Array]:
        source = open_store(self.where)
        group = existing_group(source, self.source)
        at_overpasses = [state_name(name, "sigma40") for name in AT_OVERPASSES if self._hours]
        names = [name for name in (*NEEDED, *USEFUL, *at_overpasses) if name in group]
        region = {"cell": block.region}
        return {name: read_region(source, self.source, name, region).astype(np.float64) for name in names}

    def _at_overpasses(self, run: Mapping[str, Array]) -> dict[str, Array]:
        """States (day, overpass, cell); snow, which nothing melts in an hour, is that of the day."""
        states = {name: run[state_name(name, "sigma40")] for name in AT_OVERPASSES}
        if "SWE" in run:
            states["SWE"] = np.broadcast_to(run["SWE"][:, None], states["WG2"].shape)
        return states

    def _shape(self, name: str, block: Block) -> tuple[int, ...]:
        days = self.days()
        times = len(lai_days(days)) if name == "lai" else len(days)
        return (times, len(self._hours), block.cells) if name == "sigma40" and self._hours else (times, block.cells)

    def _with_hours(self, name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of a group, with the hour of each overpass where they keep it."""
        if name != "sigma40" or not self._hours:
            return arrays
        there = arrays["quality"] != Quality.MISSING
        return {**arrays, "overpass_hour": np.where(there, np.array(self._hours)[:, None], np.nan)}

    def finish(self, root: zarr.Group) -> None:
        """See `Stage.finish`."""
        paths = [f"observations/{name}" for name in UNITS]
        mark_complete(root, [*paths, self._network()] if has_group(root, self._network()) else paths)

    def memory_bytes(self, cells: int) -> int:
        """The run's variables, and a few arrays more for each observation type."""
        return cells * len(self.days()) * 8 * 30


def observed_land(root: zarr.Group, block: Block) -> xr.Dataset:
    """What observations need to know of the land of a block."""
    names = ("latitude", "longitude", "clay", "sand")
    data: dict[str, Any] = {name: ("cell", read_land(root, name, block.region)) for name in names}
    fraction = read_land(root, "patch_fraction", block.region)
    return xr.Dataset({**data, "patch_fraction": (("cell", "patch"), fraction)})


def observer_of(settings: TwinConfig, land: xr.Dataset, days: Times) -> Observer:
    """What makes observations of some cells over days in a row."""
    nature = settings.nature_settings()
    latitude, longitude, clay, sand, fraction = (
        land[name].to_numpy().astype(np.float64) for name in ("latitude", "longitude", "clay", "sand", "patch_fraction")
    )
    cells = Cells(Places(latitude, longitude), fraction, clay, sand)
    return Observer(nature.observations, settings.seed, f"observations {nature.seed}", cells, days)


def _has_land(land: xr.Dataset) -> np.ndarray:
    """Cells with a place, soil and patches; the others have no run, and are not observed."""
    known = np.all([np.isfinite(land[name].to_numpy()) for name in ("latitude", "longitude", "clay", "sand")], axis=0)
    fraction = land["patch_fraction"].to_numpy()
    return known & np.isfinite(fraction).all(axis=1) & (fraction.sum(axis=1) > 0.0)


def _missing(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    nothing = np.full(shape, np.nan)
    return {
        "value": nothing,
        "uncertainty": nothing.copy(),
        "quality": np.full(shape, Quality.MISSING, dtype="int8"),
    }


def _arrays(observed: Observed) -> dict[str, np.ndarray]:
    return {"value": observed.value, "uncertainty": observed.uncertainty, "quality": observed.quality}
