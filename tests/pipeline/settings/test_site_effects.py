"""No key of a site file without effect: another value of each key shows in what the land model gets or `ldas site`
writes, and one that another choice leaves without effect is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.forcing.analytic import analytic_forcing
from ldas.pipeline.forcing.check import ForcingError
from ldas.pipeline.site.case import SiteCase
from ldas.pipeline.site.columns import prepare
from ldas.pipeline.site.run import run_case
from tests.helpers.synthetic_store import forcing_store, formula_cell
from tests.pipeline.settings.test_effects import with_value
from tests.pipeline.settings.test_every_key import keys

STATE = {"TG": 281.0, "WG": 0.3, "LAI": 2.0}
CASE: dict[str, Any] = {
    "name": "x", "latitude": 43.6, "longitude": 1.4, "clay": 0.25, "sand": 0.4, "vegetation": "C3",
    "initial_state": STATE, "start": "1986-01-01", "days": 1, "forcing": {"formula": "rain"},
    "output": {"interval": "daily"},
}  # fmt: skip
TEXT: dict[str, Any] = {
    "forcing": {"file": "text", "first_record": "1986-01-01", "step_s": 1800, "co2_kg_m3": 6e-4, "snowfall": "none"}
}
OF_TYPES = {"vegetation": {"C3": 0.6, "GRAS": 0.4}, "by_type": {"C3": {"parameters": {}, "initial_state": {}}}}
AT_NIGHT = {**TEXT, "accept": ["night_shortwave"]}
LOOP = {"forcing": {"formula": "rain", "records_per_loop": 96}}
COL_DE_PORTE = {"forcing": {"file": "col_de_porte", "co2_kg_m3": 6e-4, "surface_pressure_pa": 87000.0}}
# Key: another value, and what stands beside it.
TABLE: dict[str, tuple[Any, dict[str, Any]]] = {
    "name": ("other", {}),
    "latitude": (40.0, {}),
    "longitude": (20.0, {}),
    "clay": (0.4, {}),
    "sand": (0.2, {}),
    "cell_size_km": (100.0, {}),
    "vegetation": ("GRAS", {}),
    "parameters": ({"DROOT": 0.5}, {}),
    "initial_state": ({**STATE, "LAI": 1.0}, {}),
    "by_type.parameters": ({"DROOT": 0.5}, OF_TYPES),
    "by_type.initial_state": ({"LAI": 1.0}, OF_TYPES),
    "options.pedotransfer": ("CO84", {}),
    "options.light_scheme": ("carrer", {}),
    "options.runoff": ("DT92", {}),
    "options.horton": (True, {}),
    "options.drip": ("SGH", {}),
    "options.snow_layers": (3, {}),
    "options.soil_respiration": ("PRM", {}),
    "options.conserve_heat": (True, {}),
    "options.energy_substep_s": (900.0, {}),
    "start": ("1986-01-02", LOOP),
    "days": (2, {}),
    "time_step_s": (900, {}),
    "forcing.file": ("other", TEXT),
    "forcing.store": ("other.zarr", {"forcing": {"store": "text.zarr"}}),
    "forcing.formula": ("snow", {"days": 30}),
    "forcing.temperature_height_m": (10.0, {}),
    "forcing.wind_height_m": (20.0, {}),
    "forcing.first_record": ("1985-12-31T12:00", AT_NIGHT),
    "forcing.step_s": (3600, AT_NIGHT),
    "forcing.co2_kg_m3": (7e-4, TEXT),
    "forcing.surface_pressure_pa": (90000.0, COL_DE_PORTE),
    "forcing.snowfall": ("below_freezing", TEXT),
    "forcing.records_per_loop": (48, {**LOOP, "days": 2}),
    "accept": (["night_shortwave"], {}),
    "output.interval": ("half-hourly", {}),
    "output.variables": (["LAI"], {}),
    "output.per_patch": (True, {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text files of three days of forcing: a HAPEX table, a warmer one, and a table as that of Col de Porte."""
    folder = tmp_path_factory.mktemp("site")
    weather = analytic_forcing(3 * 48).forcing
    columns = [np.asarray(values)[:, 0] for values in (weather.SWdown, weather.LWdown, weather.Rainf, weather.Tair,
               weather.Wind, 0.0 * np.asarray(weather.Wind), weather.PSurf, weather.Qair)]  # fmt: skip
    columns[2], columns[3] = columns[2] + 1e-4, columns[3] - 5.0  # some falls in frost
    columns[7] = 0.6 * columns[7]
    for name, warmer in (("text", 0.0), ("other", 1.0)):
        columns[3] = columns[3] + warmer
        np.savetxt(folder / name, np.stack(columns, axis=1), header="SW LW Rain T U V Ps Q")
        of_store = weather._replace(Tair=np.asarray(weather.Tair) + warmer)
        forcing_store(folder / f"{name}.zarr", formula_cell(of_store))
    hourly = [np.asarray(values)[::2, 0] for values in (weather.SWdown, weather.LWdown, weather.Rainf, weather.Tair,
              weather.Wind)]  # fmt: skip
    stamps = [f"198601{1 + hour // 24:02d}{hour % 24:02d}" for hour in range(len(hourly[0]))]
    rows = zip(range(len(stamps)), stamps, *hourly, strict=True)
    lines = [f"{n} {stamp} {sw} {lw} {rain} 0 {t} {wind} 80" for n, stamp, sw, lw, rain, t, wind in rows]
    header = "#day aammjjhh SW LW PrecipTot Snow% T U HU"
    (folder / "col_de_porte").write_text("\n".join([header, *lines]), encoding="utf-8")
    return folder


def shown(folder: Path, sections: dict[str, Any]) -> bytes:
    """What the land model gets, and what is written."""
    case = SiteCase.model_validate({**CASE, **sections})
    places = {"file": folder / case.forcing.file} if case.forcing.file else {}
    places |= {"store": str(folder / case.forcing.store)} if case.forcing.store else {}
    case = case.model_copy(update={"forcing": case.forcing.model_copy(update=places)})
    run, output = prepare([case]), run_case(case)
    given = (run.options, run.parameters.to_rows(), run.state, run.forcing)
    attributes = {name: text for name, text in output.attrs.items() if name != "provenance"}  # names all keys
    return pickle.dumps((given, attributes, {str(name): array.to_numpy() for name, array in output.variables.items()}))


def test_every_key_has_an_entry() -> None:
    schema = SiteCase.model_json_schema()
    assert set(TABLE) | {"forcing.valid_range"} == set(keys(schema, schema["$defs"]))


def test_the_valid_range_of_a_file_is_heeded_or_ignored(folder: Path) -> None:
    weather = analytic_forcing(3 * 48)
    times = weather.start + np.arange(weather.intervals + 1) * np.timedelta64(weather.step_s, "s")
    fields = {name: ("time", np.asarray(values)[:, 0]) for name, values in weather.forcing._asdict().items()}
    made = xr.Dataset(fields, coords={"time": times.astype("datetime64[ns]")})
    made["Tair"].attrs["valid_max"] = float(made["Tair"].max()) - 1.0
    made.to_netcdf(folder / "narrow.nc")
    with pytest.raises(ForcingError, match="values of Tair are outside the valid range that the file declares"):
        shown(folder, {"forcing": {"file": "narrow.nc"}})
    del made["Tair"].attrs["valid_max"]
    made.to_netcdf(folder / "plain.nc")
    plain = shown(folder, {"forcing": {"file": "plain.nc"}})
    assert shown(folder, {"forcing": {"file": "narrow.nc", "valid_range": "ignore"}}) == plain


@pytest.mark.parametrize("key", TABLE)
def test_another_value_shows(folder: Path, key: str) -> None:
    value, beside = TABLE[key]
    usual = {**CASE, **beside}
    other = with_value(usual, key.replace("by_type", "by_type.C3"), value)
    assert shown(folder, other) != shown(folder, usual)


def test_keys_of_files_are_refused_beside_a_formula() -> None:
    of_files = {"step_s": 1800, "co2_kg_m3": 6e-4, "valid_range": "auto"}
    with pytest.raises(
        ValueError, match="no effect of step_s, co2_kg_m3, valid_range with a formula, only with a file"
    ):
        SiteCase.model_validate({**CASE, "forcing": {"formula": "rain", **of_files}})
