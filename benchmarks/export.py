"""What `ldas export` takes for the paper-size twin; what other programs and the compliance-checker say of its files.

SYNTHETIC: a store with the cells, years and variables of examples/southwest_france_twin.yaml is made of formulas,
without running the model. Each export is a fresh process; its seconds and its peak memory include starting Python.
xarray, GDAL and CDO (where they are installed) then read the same place and day, or the same mean.

    python benchmarks/export.py [--store FOLDER] [--years 12] [--json FILE]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

REPOSITORY = Path(__file__).resolve().parents[1]
# run as a script, this file's folder comes first in the path and would hide namesakes
HERE = Path(__file__).resolve().parent
sys.path = [str(REPOSITORY), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

ROWS, COLUMNS, CELLS, BLOCK, HOUR = 16, 24, 248, 63, 9
MEANS = ("RN", "H", "LE", "GFLUX", "EVAP", "DRAINAGE", "RUNOFF", "GPP", "RECO")
STATES = (*(f"WG{layer}" for layer in range(1, 9)), "TG1", "TG2", "WGI2", "LAI", "SWE")
CONTROLS = ("LAI", *(f"WG{layer}" for layer in range(2, 9)))
TYPICAL = {"RN": 90.0, "H": 30.0, "LE": 60.0, "GFLUX": 2.0, "EVAP": 2e-5, "DRAINAGE": 4e-6, "RUNOFF": 2e-6,
           "GPP": 2e-7, "RECO": 1e-7, "TG1": 285.0, "TG2": 285.0, "WGI2": 0.001, "LAI": 2.0, "SWE": 0.1,
           "sigma40": -10.0}  # fmt: skip
EXPORTS = {
    "netcdf": [],
    "netcdf_surfex": ["--names", "surfex"],
    "netcdf_month": ["--every", "month"],
    "zarr": ["--format", "zarr"],
    "geotiff": ["--format", "geotiff", "--experiment", "EKF"],
}
CALL = "import sys; from ldas.pipeline.program import main; sys.argv[0] = 'ldas'; main()"


def variables_of(observed: tuple[str, ...]) -> tuple[str, ...]:
    """What a run stores; an open loop without observations."""
    if not observed:
        return (*MEANS, *STATES)
    of_each = ("innovation", "residual", "linear_residual", "quality", "dfs")
    return (
        *MEANS,
        *STATES,
        *(f"{name}_forecast" for name in CONTROLS),
        *(f"increment_{name}" for name in CONTROLS),
        *(f"{kind}_{name}" for name in observed for kind in of_each),
        "chi_square",
        *(("sigma40", "sigma40_forecast") if "sigma40" in observed else ()),
    )


def make_store(path: Path, years: int) -> None:
    """The store: a truth and an open loop of so many years, two assimilations of the last third of them."""
    from ldas.pipeline.store.arrays import open_store
    from ldas.pipeline.store.groups import write_group

    root, random = open_store(str(path), "a"), np.random.default_rng(18)
    place = np.sort(random.choice(ROWS * COLUMNS, CELLS, replace=False))
    latitude, longitude = 42.125 + 0.25 * (place // COLUMNS), -1.875 + 0.25 * (place % COLUMNS)
    land = xr.Dataset({"latitude": ("cell", latitude), "longitude": ("cell", longitude)})
    write_group(root, "land", land, attributes={"synthetic": True})
    whole = np.arange(np.datetime64("2007-01-01"), np.datetime64(f"{2007 + years}-01-01"))
    part = whole[whole >= np.datetime64(f"{2007 + years - max(1, years // 3)}-01-02")]
    write_run(path, "truth", whole, (), latitude, longitude, error=0.0)
    write_run(path, "runs/open_loop", whole, (), latitude, longitude, error=1.0)
    write_run(path, "runs/EKF", part, ("sigma40",), latitude, longitude, error=0.6)
    write_run(path, "runs/EKF_SWI_LAI", part, ("swi", "lai"), latitude, longitude, error=0.4)


def write_run(
    path: Path, group: str, days: np.ndarray, observed: tuple[str, ...], latitude: np.ndarray, longitude: np.ndarray,
    error: float,
) -> None:  # fmt: skip
    """A run in the shards in which stages write one: a season that differs from cell to cell, and an error."""
    from ldas.pipeline.stages.labels import along_time
    from ldas.pipeline.store.arrays import chunk_cells, open_store, write_region
    from ldas.pipeline.store.provenance import provenance
    from ldas.pipeline.store.template import ArraySpec, create_template

    root, names = open_store(str(path), "a"), variables_of(observed)
    codes = {name for name in names if name.startswith("quality_")}
    create_template(
        root,
        group,
        {name: ArraySpec(("time", "cell"), "int8" if name in codes else "float32") for name in names},
        coordinates={
            "time": (("time",), days.astype("datetime64[s]")),
            "cell": (("cell",), np.arange(CELLS)),
            **along_time(days.astype("datetime64[D]"), HOUR, windows=bool(observed)),
        },
        chunks={"time": 366, "cell": chunk_cells(BLOCK, 366)},
        shards={"time": 366, "cell": BLOCK},
        attributes={
            **provenance({"name": "synthetic_twin", "synthetic": True, "description": "Formulas, no model"}),
            "synthetic": True,
            "analysis_hour_utc": HOUR,
        },
    )
    phase = 2 * np.pi * ((days - days.astype("datetime64[Y]")).astype(float)[:, None] - 110.0) / 365.25
    season = (np.sin(phase) * (1.0 + 0.02 * (latitude - 42.0)) + 0.01 * longitude).astype("float32")
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).standard_normal(season.shape, dtype="float32")
        typical = TYPICAL.get(name.removesuffix("_forecast"), 0.25)
        values = typical * (1.0 + (0.02 if name.startswith("TG") else 0.3) * season + 0.05 * error * noise)
        write_region(root, group, {name: np.zeros(season.shape, "int8") if name in codes else values}, {})


def measured(store: Path, out: Path, options: list[str]) -> dict[str, Any]:
    """Seconds, those of the processor, and peak memory (MB) of an export; the megabytes of its files."""
    command = [sys.executable, "-c", CALL, "export", str(store), "--out", str(out), *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        assert process.stderr is not None
        raise SystemExit(f"{' '.join(command)} ended with {status}:\n{process.stderr.read().decode()[-2000:]}")
    files = [file for file in out.rglob("*") if file.is_file()]
    return {
        "s": round(seconds, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
        "files": len(files),
        "mb": round(sum(file.stat().st_size for file in files) / 1e6, 1),
    }


def read_by_others(path: Path, store: Path) -> dict[str, Any]:
    """LAI of a cell on a day, and its mean over the year, as the store, xarray, GDAL and CDO have them."""
    from ldas.pipeline.store.arrays import open_store

    root, cell = open_store(str(store)), CELLS // 2
    north, east = (float(root[f"land/{name}"][cell]) for name in ("latitude", "longitude"))  # type: ignore[index, arg-type]
    year = int(path.stem[-4:])
    days = root["runs/EKF/time"][...].astype("datetime64[s]").astype("datetime64[Y]").astype(int) + 1970  # type: ignore[index, union-attr]
    series = root["runs/EKF/LAI"][:, cell][days == year].astype(float)  # type: ignore[index]
    found: dict[str, Any] = {"store": {"day_100": float(series[99]), "mean": float(series.mean())}}
    with xr.open_dataset(path, engine="netcdf4") as opened:
        lai = opened["lai"].sel(lat=north, lon=east).dropna("time").values.astype(float)
        band = int(np.flatnonzero(np.isfinite(opened["lai"].sel(lat=north, lon=east)))[99]) + 1
    found["xarray"] = {"day_100": float(lai[99]), "mean": float(lai.mean())}
    if shutil.which("gdallocationinfo"):
        place = "-wgs84", f"NETCDF:{path}:lai", str(east), str(north)
        found["gdal"] = {"day_100": float(output_of("gdallocationinfo", "-valonly", "-b", str(band), *place))}
    if shutil.which("cdo"):
        at = f"-remapnn,lon={east}/lat={north}"
        found["cdo"] = {
            key: float(output_of("cdo", "-s", "-outputf,%.9g,1", at, chosen, "-selname,lai", str(path)))
            for key, chosen in (("day_100", f"-seltimestep,{band}"), ("mean", "-timmean"))
        }
    wanted = found["store"]
    found["agree"] = all(
        abs(value - wanted[key]) <= 1e-6 * abs(wanted[key])
        for program in ("xarray", "gdal", "cdo")
        for key, value in found.get(program, {}).items()
    )
    return found


def output_of(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def judged(path: Path) -> dict[str, dict[str, int]]:
    """Findings of the compliance-checker: errors, warnings and suggestions under each convention."""
    from compliance_checker.suite import CheckSuite

    CheckSuite.load_all_available_checkers()
    counts = {}
    for convention in ("cf:1.11", "acdd:1.3"):
        suite = CheckSuite()
        dataset = suite.load_dataset(str(path))
        results, _ = suite.run_all(dataset, [convention])[convention]
        dataset.close()
        texts: dict[int, int] = {3: 0, 2: 0, 1: 0}
        for result in results:
            passed, possible = result.value if isinstance(result.value, tuple) else (bool(result.value), 1)
            texts[result.weight] += len(result.msgs or [""]) if passed != possible else 0
        counts[convention] = {"errors": texts[3], "warnings": texts[2], "suggestions": texts[1]}
    return counts


def main() -> None:
    """Make the store where none is given, export it in every form, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--store", type=Path, help="a finished store with a run EKF; default: a synthetic one, made now"
    )
    parser.add_argument("--years", type=int, default=12, help="of the synthetic store")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = arguments.store or Path(temporary) / "store.zarr"
        if arguments.store is None:
            print(f"making {CELLS} cells, {arguments.years} years (SYNTHETIC)", flush=True)
            make_store(store, arguments.years)
        result: dict[str, Any] = {}
        for name, options in EXPORTS.items():
            result[name] = measured(store, Path(temporary) / name, options)
            print(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in result[name].items()), flush=True)
        last = sorted((Path(temporary) / "netcdf" / "EKF").glob("*.nc"))[-1]
        result["values"], result["checker"] = read_by_others(last, store), judged(last)
        print(f"  values: {result['values']}\n  checker: {result['checker']}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
