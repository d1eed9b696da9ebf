"""One table of formats drives `ldas ingest inspect` and `ldas ingest`: a file of each is recognised and ingested.

What inspect says of a file is what the configuration gets, beside the keys that it calls the user's own.
"""

import gzip
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.errors import IngestError, PipelineError
from ldas.pipeline.ingest import formats, inspect_file, run_ingest, source_names
from ldas.pipeline.ingest.config import FilesConfig
from ldas.pipeline.ingest.run import SOURCES
from ldas.pipeline.store.arrays import open_dataset
from tests.pipeline.ingest import (
    place_samples,
    samples,
    test_alma,
    test_ascat,
    test_ismn,
    test_land_surfex,
    test_modis_files,
)
from tests.pipeline.ingest.test_daily import ROWS
from tests.pipeline.ingest.test_daily import write_table as write_daily
from tests.pipeline.ingest.test_forcing_formats import gridded, write_surfex
from tests.pipeline.ingest.test_tower import TABLE
from tests.pipeline.tables.test_once_a_day import table as write_collocated
from tests.support import shared

POINT = {"points": [[44.25, 0.25]]}
PLACE = {"latitude": 44.0, "longitude": 1.0}
STATION = {**PLACE, "elevation": 100.0}
LAND = {"region": {"south": 44.0, "north": 44.25, "west": 0.0, "east": 0.5}}
MODIS = {"region": {"south": 44.5, "north": 44.75, "west": -1.25, "east": -1.0}}


class Sample(NamedTuple):
    """A file of a format, the keys of its ingest that are the user's own, and a value of what is made of it."""

    path: Path
    own: dict[str, Any]
    group: str
    value: Callable[[xr.Dataset], Any]
    expected: Any


def first(name: str) -> Callable[[xr.Dataset], float]:
    return lambda dataset: dataset[name].to_numpy().reshape(-1)[0]


def cell_file(folder: Path) -> Sample:
    path = samples.write_cell_file(folder / "0001.nc", backscatter=False)
    # Of the first point's two overpasses of the first day, the second is of frozen soil.
    return Sample(path, {"cells": {"points": [[44.0, 0.0]]}}, "observations/ssm", first("value"), 0.5)


def ascat_grid(folder: Path) -> Sample:
    """The grid with a cell file that is needed, and one that is not and could not be read."""
    samples.write_cell_file(folder / "0007.nc")
    xr.Dataset({"row_size": ("locations", [1])}).to_netcdf(folder / "0008.nc")
    grid = {"gpi": [11, 99], "cell": [7, 8], "lat": [44.0, 10.0], "lon": [0.0, 10.0]}
    xr.Dataset({name: ("gp", values) for name, values in grid.items()}).to_netcdf(folder / "grid.nc")
    own = {"cells": {"points": [[44.0, 0.0]]}, "files": ["000*.nc"]}
    return Sample(folder / "grid.nc", own, "observations/sigma40", first("value"), -10.0)


def swath(folder: Path) -> Sample:
    path = test_ascat.write_swath(folder / "swath.nc")
    return Sample(path, {"cells": {"points": [[44.21, -0.01]]}}, "observations/sigma40", first("value"), -12.2)


def bufr(folder: Path) -> Sample:
    """A real swath, at its most western node with backscatter."""
    from ldas.pipeline.ingest.ascat_swath import FlagLimits, read_swath

    path = shared("data/ascat/h101_20170220_103900_METOPA_53656_EUM.buf")
    read = read_swath(path, FlagLimits(frozen=100, snow=100, wetland=100, topography=100))
    node = int(np.argmin(np.where(np.isfinite(read.measurements.sigma40), read.longitude, np.inf)))
    cell = [float(read.latitude[node]), float(read.longitude[node])]
    own = {"cells": {"points": [cell]}, "radius_km": 2.0, "nothing_usable": "store"}
    return Sample(path, own, "observations/sigma40", first("value"), read.measurements.sigma40[node])


def collocated(folder: Path) -> Sample:
    path = write_collocated(folder / "table.nc")
    with xr.open_dataset(path) as raw:
        days = raw["time"].to_numpy().astype("datetime64[D]")
        expected = float(raw["WG2"].to_numpy()[days == days[0]].mean())
    return Sample(path, {}, "runs/open_loop", first("WG2"), expected)


def isba(folder: Path) -> Sample:
    test_land_surfex.write_pgd(folder / "PGD.nc")
    path = test_land_surfex.write_output(folder / "ISBA.nc")
    return Sample(path, {"pgd": "PGD.nc"}, "runs/open_loop", first("LAI"), 2.0)  # at 09 UTC


def cgls(variable: str, raw_unit: float, **attributes: Any) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        path = samples.write_cgls(folder / "x.nc", variable, **attributes)
        group = {"SWI_001": "swi", "ssm": "ssm", "LAI": "lai"}[variable]
        own = {"cells": POINT, "method": "nearest"}
        return Sample(path, own, f"observations/{group}", first("value"), pytest.approx(104 * raw_unit, rel=0.011))

    return make


def modis(write: Callable[[Path], Path]) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        own = {"cells": MODIS, "least_fraction": 0.0}
        return Sample(write(folder / "lai"), own, "observations/lai", first("value"), test_modis_files.EXPECTED[0])

    return make


def era5(write: Callable[[xr.Dataset, Path], Any]) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        path = folder / "era5.nc"
        write(samples.era5_dataset(times=samples.hours("2015-03-01T00:00", 6)), path)
        expected = 3600.0 * (300.0 + 0.5 * 44.5 - 0.25 * 0.5) / 3600.0
        return Sample(path, {"cells": {"points": [[44.5, -0.5]]}}, "forcing", first("LWdown"), expected)

    return make


def arco(folder: Path) -> Sample:
    path = test_alma.arco_mimic(folder)
    own = {
        "cells": {"points": [[44.5, -0.5]]},
        "period": {"start": "2015-03-01T00:00", "end": "2015-03-02T05:00"},
    }
    return Sample(path, own, "forcing", first("LWdown"), 300.0 + 0.5 * 44.5 - 0.25 * 0.5)


def surfex_forcing(folder: Path) -> Sample:
    path = write_surfex(folder / "FORCING.nc")
    return Sample(path, {"accept": ["night_shortwave"]}, "forcing", lambda forcing: forcing["SWdown"][12, 0], 600.0)


def alma_file(folder: Path) -> Sample:
    test_alma.site_dataset().to_netcdf(folder / "site.nc")
    own = {"stamp": "start", "accept": ["night_shortwave"]}
    return Sample(folder / "site.nc", own, "forcing", lambda forcing: forcing["Tair"][0, 0], 280.075)


def alma_part(folder: Path) -> Sample:
    whole = gridded()
    whole[["Tair"]].to_netcdf(folder / "Tair.nc")
    whole.drop_vars("Tair").to_netcdf(folder / "others.nc")
    own = {"files": ["Tair.nc", "others.nc"], "accept": ["night_shortwave"]}
    return Sample(folder / "Tair.nc", own, "forcing", first("Tair"), whole["Tair"].to_numpy().reshape(-1)[0])


def pgd(folder: Path) -> Sample:
    path = test_land_surfex.write_pgd(folder / "PGD.nc", patches=False)
    (folder / "covers.txt").write_text(test_land_surfex.ECOCLIMAP)
    return Sample(path, {"ecoclimap": "covers.txt"}, "land", lambda land: land["patch_fraction"][0, 6], 0.5)


def land_map(name: str, variable: str, values: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        test_land_surfex.maps(folder)
        with xr.open_dataset(folder / "maps.nc") as raw:
            axes = {"lat": raw["lat"], "lon": raw["lon"]}
            xr.Dataset({variable: (("lat", "lon"), values)}, coords=axes).to_netcdf(folder / name)
        return folder / name

    return write


def cover_map(folder: Path) -> Sample:
    path = land_map("cover.nc", "IGBP", np.full((10, 20), 12, dtype="uint8"))(folder)
    own = {"cells": LAND, "clay": 0.2, "sand": 0.4}
    return Sample(path, own, "land", lambda land: land["patch_fraction"][0, 6], 0.8)  # cropland: C3


def land_mask(folder: Path) -> Sample:
    """The eastern of two cells is sea."""
    there = np.repeat([[1.0] * 10 + [0.0] * 10], 10, axis=0)
    path = land_map("mask.nc", "lsm", there)(folder)
    cover = {"map": {"file": "maps.nc", "variable": "igbp"}}
    own = {"cells": LAND, "clay": 0.2, "sand": 0.4, "cover": cover}
    return Sample(path, own, "land", lambda land: land["longitude"].to_numpy().tolist(), [0.125])


def ecoclimap(folder: Path) -> Sample:
    path = folder / "covers.txt"
    path.write_text(test_land_surfex.ECOCLIMAP)
    land_map("cover.nc", "cover", np.full((10, 20), 2, dtype="int16"))(folder)
    own = {"cells": LAND, "clay": 0.2, "sand": 0.4, "cover": {"map": {"file": "cover.nc", "variable": "cover"}}}
    return Sample(path, own, "land", lambda land: land["patch_fraction"][0, 3], 0.4)


def ismn_deep(folder: Path) -> Sample:
    """A sensor that the usual depth and flags would not take."""
    path = test_ismn.write_sensor(folder, depth=0.3, flag="U")
    return Sample(path, {}, "insitu/NET", lambda found: found["soil_moisture"][0, 1], 0.3)


def fluxnet_forcing(folder: Path) -> Sample:
    path = write_daily(folder, ROWS)
    own = {"place": PLACE, "accept": ["night_shortwave"]}
    return Sample(path, own, "forcing", lambda forcing: forcing["PSurf"][12, 0], 98000.0)


def fluxnet_fluxes(folder: Path) -> Sample:
    (folder / "table.csv").write_text(TABLE)
    own = {"place": PLACE, "code": "XX-Own"}
    return Sample(folder / "table.csv", own, "insitu/tower", lambda found: found["LE"][0, 0], 40.0)


def half_hours(folder: Path) -> Sample:
    path = place_samples.write_half_hours(folder / "HH.csv")
    own = {"place": STATION, "utc_offset_h": 1}
    # Coldest at an hour: the means over the half hours around it are those a quarter of an hour (3.75 degrees) off.
    coldest = 273.15 + 12.5 - 2.5 * np.cos(np.deg2rad(3.75))
    return Sample(path, own, "forcing", first("Tair"), pytest.approx(coldest, rel=1e-6))


def epw_file(folder: Path) -> Sample:
    path = place_samples.write_epw(folder / "place.epw")
    own = {"period": {"start": "2011-01-02", "end": "2011-01-03"}}
    return Sample(path, own, "forcing", first("PSurf"), 98000.0)


def era5_point(folder: Path) -> Sample:
    path = place_samples.write_era5_point(folder / "point.csv")
    return Sample(path, {"cells": {"points": [[44.0, 1.0]]}}, "forcing", first("PSurf"), 98000.0)


def station_sensors(folder: Path) -> Sample:
    paths = place_samples.write_ismn(folder)
    own = {"files": [str(path) for path in paths]}
    return Sample(paths[0], own, "forcing", first("Tair"), pytest.approx(283.15, rel=1e-6))


def surfex_table(header: str, row: str, expected: float, **own: Any) -> Callable[[Path], Sample]:
    def make(folder: Path) -> Sample:
        lines = [row.format(f"20100101{hour:02d}") for hour in range(6)]
        path = folder / "forcing.txt"
        path.write_text("\n".join([header, "# units", *lines]) + "\n")
        keys = {**PLACE, **own, "accept": ["night_shortwave"]}
        return Sample(path, keys, "forcing", first("Tair"), pytest.approx(expected, rel=1e-6))

    return make


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "ASCAT time series (cell file)": cell_file,
    "ASCAT Level 2 swath": swath,
    "ASCAT Level 2 soil moisture swath": bufr,
    "grid of an ASCAT product": ascat_grid,
    "ASCAT backscatter with ISBA states at overpasses": collocated,
    "ISBA output": isba,
    "Copernicus Global Land SWI": cgls("SWI_001", 0.005),
    "Copernicus Global Land ssm": cgls("ssm", 0.005),
    "Copernicus Global Land LAI": cgls("LAI", 1 / 30),
    "MODIS leaf area index": modis(test_modis_files.netcdf),
    "MODIS leaf area index, table of pixels (MODISTools)": modis(test_modis_files.modistools),
    "MODIS leaf area index, table of points (AppEEARS)": modis(test_modis_files.points),
    "MODIS leaf area index, subset (ORNL DAAC)": modis(test_modis_files.subset_lines),
    "ERA5": era5(samples.write_new_layout),
    "ERA5 (GRIB)": era5(samples.write_grib),
    "analysis-ready ERA5 archive (ARCO)": arco,
    "forcing of SURFEX (FORCING.nc)": surfex_forcing,
    "forcing with ALMA names": alma_file,
    "forcing with ALMA names, in part": alma_part,
    "SURFEX PGD or PREP file": pgd,
    "land cover map (IGBP classes)": cover_map,
    "land-sea mask": land_mask,
    "ECOCLIMAP cover parameters": ecoclimap,
    "ISMN soil moisture": ismn_deep,
    "ISMN air temperature or precipitation": station_sensors,
    "half-hourly FLUXNET or ICOS table": half_hours,
    "EnergyPlus weather file (EPW)": epw_file,
    "ERA5 at a point (CSV)": era5_point,
    "FLUXNET daily table": fluxnet_forcing,
    "FLUXNET daily table of fluxes": fluxnet_fluxes,
    "forcing table of a SURFEX example case": surfex_table(
        "#  SW LW Rain T U V Ps Q",
        "100.0 305.0 .000E+00 276.560 1.000 .000 101110.0 .468E-02",
        276.56,
        start="2010-01-01T00:00",
        step_s=3600,
    ),
    "dated forcing table of a SURFEX example case": surfex_table(
        "#day aammjjhh SW LW PrecipTot Snow% T U HU",
        "1 {} 100.0 309.4 .000E+00 .00 274.4 1.0 80.0",
        274.4,
        surface_pressure=90000.0,
    ),
}


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "download.nc", "w") as archive:
        archive.writestr("data_stream-oper_stepType-instant.nc", b"CDF\x01")
    return folder / "download.nc"


def content(data: bytes, name: str = "download.nc") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def other_sensor(folder: Path) -> Path:
    """Soil temperature of the ISMN."""
    path = test_ismn.write_sensor(folder)
    lines = path.read_text()
    other = path.with_name(path.name.replace("_sm_", "_ts_"))
    path.unlink()
    other.write_text(lines)
    return other


def two_dates(folder: Path) -> Path:
    samples.write_cgls(folder / "a.nc")
    with xr.open_dataset(folder / "a.nc", mask_and_scale=False) as raw:
        both = xr.concat([raw, raw.assign_coords(time=raw["time"] + np.timedelta64(1, "D"))], "time")
        both.to_netcdf(folder / "both.nc")
    return folder / "both.nc"


def own_store(folder: Path) -> Path:
    (folder / "b").mkdir()
    run_ingest("era5", configuration(folder / "b", "era5", era5(samples.write_new_layout)(folder)))
    return folder / "b" / "store.zarr"


# Formats that no source reads.
REFUSED: dict[str, Callable[[Path], Path]] = {
    "empty file": content(b""),
    "zip archive": zipped,
    "damaged zip archive": content(b"PK\x03\x04" + bytes(20)),
    "gzip": content(gzip.compress(b"CDF\x01")),
    "HDF4": content(b"\x0e\x03\x13\x01 and so on"),
    "web page": content(b"<!DOCTYPE html>"),
    "FLUXNET monthly table": content(b"TIMESTAMP,LE_F_MDS,LAI\n201001,40,1.5\n201002,50,1.6\n"),
    "ISMN, another variable": other_sensor,
    "Copernicus Global Land, several dates in a file": two_dates,
    "no archive": own_store,
}
OWN_KEYS = {  # of the sources, so that their configuration is valid
    "ascat": {"cells": POINT},
    "cgls": {"cells": POINT, "variable": "SWI_001"},
    "daily": {"place": PLACE},
    "epw": {"period": {"start": "2011-01-02", "end": "2011-01-03"}},
    "half_hourly": {"place": STATION, "utc_offset_h": 1},
    "era5": {"cells": POINT},
    "gridded": {"cells": POINT, "variable": "sm", "group": "ssm"},
    "modis": {"cells": POINT},
    "tower": {"place": PLACE, "code": "XX-Own"},
}


def configuration(folder: Path, source: str, sample: Sample, settings: dict[str, Any] | None = None) -> Path:
    """A configuration of what inspect says and the user's own keys."""
    keys: dict[str, Any] = dict(settings or {})
    for key, value in sample.own.items():
        both = isinstance(value, dict) and isinstance(keys.get(key), dict)
        keys[key] = {**keys[key], **value} if both else value
    if issubclass(SOURCES[source].config, FilesConfig):
        keys.setdefault("files", [str(sample.path)])
    return samples.write_config(folder / "c.yaml", store={"url": "store.zarr"}, **keys)


def test_every_format_has_a_sample():
    """And every source that reads files is the source of a format."""
    named = [entry.name for entry in formats.FORMATS]
    assert sorted(named) == sorted([*SAMPLES, *REFUSED])
    read = {source for entry in formats.FORMATS for source in (entry.source, *entry.others)}
    assert set(source_names()) - {"site", "gridded"} == read - {""}  # gridded: whatever its configuration describes


@pytest.mark.parametrize("name", SAMPLES)
def test_what_inspect_says_is_ingested(tmp_path, name):
    sample = SAMPLES[name](tmp_path)
    report = inspect_file(sample.path)
    assert report.problem is None
    assert report.product.startswith(name)
    (entry,) = (entry for entry in formats.FORMATS if entry.name == name)
    assert report.source == entry.source
    # Without what it asks for the configuration would not do; beyond that nothing is needed.
    usual = {"accept", "method", "radius_km", "nothing_usable", "least_fraction", "files", "stamp"}
    assert set(sample.own) - usual <= {*report.asks, *report.settings}
    assert set(report.asks) - {"store"} <= {*sample.own, "clay", "sand"}
    run_ingest(report.source, configuration(tmp_path, report.source, sample, report.settings))
    found = open_dataset(tmp_path / "store.zarr", sample.group).load()
    expected = sample.expected if hasattr(sample.expected, "rel") else pytest.approx(sample.expected, rel=1e-5)
    value = sample.value(found)
    assert (value if isinstance(value, list) else float(value)) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_inspect_refuses_every_source_refuses_for_the_same_reason(tmp_path, name):
    path = REFUSED[name](tmp_path)
    report = inspect_file(path)
    assert not report.source
    (entry,) = (entry for entry in formats.FORMATS if entry.name == name)
    reason = re.escape(entry.reason).replace(re.escape("{names}"), ".*")
    assert re.search(reason, str(report.problem))
    sources = {key: keys for key, keys in SOURCES.items() if issubclass(keys.config, FilesConfig)}
    if name == "no archive":
        sources = {"arco": SOURCES["arco"]}
    for source in sources:
        own = OWN_KEYS.get(source, {})
        if source == "arco":
            own = {"url": str(path), "cells": POINT, "period": {"start": "2015-03-01", "end": "2015-03-02"}}
        sample = Sample(path, own, "", lambda dataset: None, None)
        with pytest.raises(IngestError, match=reason):
            run_ingest(source, configuration(tmp_path, source, sample))
        assert not (tmp_path / "store.zarr").exists()


@pytest.mark.parametrize("name", [name for name in SAMPLES if "ARCO" not in name])
def test_another_source_says_which_one_reads_the_file(tmp_path, name):
    sample = SAMPLES[name](tmp_path)
    (entry,) = (entry for entry in formats.FORMATS if entry.name == name)
    wrong = "cgls" if entry.source != "cgls" else "era5"
    own = Sample(sample.path, OWN_KEYS[wrong], "", sample.value, None)
    with pytest.raises(PipelineError, match=rf"is {re.escape(name)}: ldas ingest {entry.source} reads it"):
        run_ingest(wrong, configuration(tmp_path, wrong, own))


def test_amounts_since_midnight_are_seen(tmp_path):
    """ERA5-Land: inspect names the key that an ingest without it would ask for."""
    path = tmp_path / "land.nc"
    fields = samples.since_midnight(samples.era5_dataset(times=samples.hours("2015-03-01T01:00", 26)))
    samples.write_new_layout(fields, path)
    report = inspect_file(path)
    assert report.settings == {"accumulation": "since_midnight"}
    sample = Sample(path, {"cells": {"points": [[44.5, -0.5]]}}, "forcing", first("LWdown"), 0.0)
    with pytest.raises(IngestError, match="set accumulation: since_midnight"):
        run_ingest("era5", configuration(tmp_path, "era5", sample))
    run_ingest("era5", configuration(tmp_path, "era5", sample, report.settings))
    forcing = open_dataset(tmp_path / "store.zarr", "forcing")
    np.testing.assert_allclose(forcing["LWdown"], 300.0 + 0.5 * 44.5 - 0.25 * 0.5, rtol=1e-5)


def test_a_whole_file_that_xarray_cannot_represent_is_not_called_damaged(tmp_path):
    """A dimension and a scalar variable of one name, as in a template of model outputs."""
    import netCDF4

    with netCDF4.Dataset(tmp_path / "template.nc", "w") as file:
        file.createDimension("lat", 2)
        file.createVariable("lat", "f8", ())[...] = 44.0
        file.createVariable("LE", "f8", ("lat",))[:] = 1.0
    report = inspect_file(tmp_path / "template.nc")
    assert "the file is whole, but xarray cannot represent it: dimension 'lat'" in str(report.problem)
    sample = Sample(tmp_path / "template.nc", OWN_KEYS["cgls"], "", first("value"), None)
    with pytest.raises(IngestError, match="the file is whole, but xarray cannot represent it"):
        run_ingest("cgls", configuration(tmp_path, "cgls", sample))
