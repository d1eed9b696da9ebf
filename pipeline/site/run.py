"""One site from a small YAML file: `ldas site CASE.yaml --out FILE.nc`.

The output is CF NetCDF under the names of the variable registry: fluxes are means over the interval that ends at their
time, states are those at the time. Soil layers and biomass pools are dimensions.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ldas import landmodel
from ldas.landmodel.array_types import Array
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.acceptance import ACCEPTED
from ldas.pipeline.site.case import SiteCase, load_case
from ldas.pipeline.site.columns import ColumnRun, prepare
from ldas.pipeline.store.arrays import TIME_ATTRIBUTES, existing_group, open_store
from ldas.pipeline.store.provenance import file_checksum, group_checksum, provenance

DAYS_PER_SEGMENT = 31
EPOCH = np.datetime64("1970-01-01T00:00:00", "s")


def run_site(case_path: Path, out: Path, threads: int = 1) -> None:
    """Runs the case of a YAML file and writes its output.

    Raises:
        ConfigurationError: a case that cannot be run; nothing is written then.
        ForcingError: a forcing that cannot be read or is not plausible; nothing is written then.
    """
    write_output(run_case(load_case(case_path), threads), out)


def run_case(case: SiteCase, threads: int = 1) -> xr.Dataset:
    """Runs a case; the dataset that `run_site` writes."""
    run = prepare([case])
    states = tuple(name for name in case.output.variables if registry.variable(name).cell_methods == "time: point")
    means = tuple(name for name in case.output.variables if name not in states)
    request = landmodel.OutputRequest(mean=means, end=states, interval_s=case.output.seconds)
    days = [min(DAYS_PER_SEGMENT, case.days - first) for first in range(0, case.days, DAYS_PER_SEGMENT)]
    pieces = [segment.outputs for segment in run.segments(request, days, threads)]
    values = {name: np.concatenate([piece[name] for piece in pieces]) for name in (*states, *means)}
    return _dataset(run, values)


def write_output(dataset: xr.Dataset, out: Path) -> None:
    """Writes the dataset as NetCDF 4; the file appears complete or not at all."""
    if not out.parent.is_dir():
        raise ConfigurationError(f"{out}: the folder {out.parent} does not exist")
    compressed: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True}
    encoding = {str(name): dict(compressed) for name in dataset.data_vars}
    partial = out.with_name(f".{out.name}.partial")
    try:
        dataset.to_netcdf(partial, engine="netcdf4", encoding=encoding)
        partial.replace(out)
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _dataset(run: ColumnRun, values: Mapping[str, Array]) -> xr.Dataset:
    """Arrays over time (and layer or pool) of the site, and of its patches where asked for."""
    case = run.cases[0]
    variables: dict[str, xr.DataArray] = {}
    for name, columns in values.items():
        axis = registry.variable(name).axis
        layered = ("time", axis) if axis else ("time",)
        variables[name] = xr.DataArray(_site_mean(run, columns), dims=layered, attrs=registry.attributes(name))
        if case.output.per_patch:
            attributes = registry.attributes(f"{name}_patch")
            variables[f"{name}_patch"] = xr.DataArray(columns, dims=("time", "patch", *layered[1:]), attrs=attributes)
    intervals = len(next(iter(values.values())))
    return xr.Dataset(variables, coords=_coordinates(run, intervals), attrs=_attributes(case))


def _site_mean(run: ColumnRun, columns: Array) -> Array:
    """Mean over the patches (second axis); a site of one patch keeps its undefined values."""
    last = np.moveaxis(columns, 1, -1)
    return last[..., 0] if last.shape[-1] == 1 else landmodel.aggregate(last, run.parameters, 1)[..., 0]


def _coordinates(run: ColumnRun, intervals: int) -> dict[str, Any]:
    case = run.cases[0]
    edges = (case.start_time - EPOCH).astype(np.int64) + np.arange(intervals + 1) * case.output.seconds
    coordinates: dict[str, Any] = {
        "time": ("time", edges[1:], {**TIME_ATTRIBUTES, "long_name": "end of the interval", "bounds": "time_bounds"}),
        "time_bounds": (("time", "bounds"), np.stack([edges[:-1], edges[1:]], axis=1)),
        "latitude": ((), case.latitude, registry.attributes("latitude")),
        "longitude": ((), case.longitude, registry.attributes("longitude")),
        "layer": ("layer", np.arange(1, 15), {"long_name": "soil layer from the surface", "positive": "down"}),
        "pool": (
            "pool",
            np.arange(1, 4),
            {"long_name": "biomass pool", "flag_values": [1, 2, 3], "flag_meanings": "leaf active_wood passive_wood"},
        ),
    }
    bottoms = run.parameters.soil("layer_bottom")
    depth = {"units": "m", "long_name": "depth of the bottom of the soil layer", "positive": "down"}
    if case.output.per_patch:
        coordinates["layer_bottom"] = (("patch", "layer"), bottoms, depth)
        coordinates["patch"] = ("patch", run.parameters.patch, {"long_name": f"patch of {' '.join(case.fractions)}"})
        coordinates["patch_fraction"] = ("patch", run.parameters.fraction, registry.attributes("patch_fraction"))
    elif (bottoms == bottoms[0]).all():
        coordinates["layer_bottom"] = ("layer", bottoms[0], depth)
    return coordinates


def forcing_checksum(case: SiteCase) -> dict[str, str]:
    """Name and checksum of the forcing of a case; nothing for formulas."""
    if case.forcing.store is not None:
        return {"forcing": group_checksum(existing_group(open_store(case.forcing.store), "forcing"))}
    return {} if case.forcing.file is None else {case.forcing.file.name: file_checksum(case.forcing.file)}


def _attributes(case: SiteCase) -> dict[str, str]:
    made = provenance(case.model_dump(mode="json"), forcing_checksum(case))["provenance"]
    return {
        "Conventions": "CF-1.11",
        "title": f"ISBA-A-gs at {case.name}",
        "source": f"ldas {made['code']}",
        "provenance": json.dumps(made, sort_keys=True),
        **({ACCEPTED: " ".join(case.accept)} if case.accept else {}),
    }
