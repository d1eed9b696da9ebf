"""Reading forcing, and stopping before any computation at forcing that cannot be right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ldas.pipeline.errors import IngestError
from ldas.pipeline.forcing.analytic import LATITUDE, LONGITUDE, START, STEP_S, analytic_forcing
from ldas.pipeline.forcing.check import FORCING_NAMES, Problem, forcing_problems
from ldas.pipeline.forcing.read import ForcingError, check_forcing, land_forcing, read_forcing
from tests.support import shared

DAYS = 10
HAPEX_HEADER = "#  SW  LW  Rain  T  U  V  Ps  Q\n#  W/m2 W/m2 Kg/m2/s K m/s m/s Pa Kg/Kg\n"
CDP_HEADER = "#day aammjjhh  SW  LW PrecipTot Snow% T  U  HU\n#  W/m2 W/m2 Kg/m2/s - K m/s %\n"


def good_forcing(cells: int = 3) -> xr.Dataset:
    """Ten winter days of the formula weather, the same in every cell."""
    timed = analytic_forcing(DAYS * 48)
    times = START + np.arange(timed.intervals + 1) * np.timedelta64(STEP_S, "s")
    return xr.Dataset(
        {name: (("time", "cell"), np.tile(getattr(timed.forcing, name), (1, cells))) for name in FORCING_NAMES},
        coords={
            "time": times.astype("datetime64[ns]"),
            "cell": np.arange(100, 100 + cells),
            "latitude": ("cell", np.full(cells, LATITUDE)),
            "longitude": ("cell", np.full(cells, LONGITUDE)),
        },
    )


def problem(dataset: xr.Dataset) -> str:
    """The text of the error that stops the dataset."""
    with pytest.raises(ForcingError) as stopped:
        check_forcing(dataset, source="winter.nc")
    return str(stopped.value)


def changed(name: str, change: Callable[[xr.DataArray], xr.DataArray]) -> xr.Dataset:
    dataset = good_forcing()
    return dataset.assign({name: change(dataset[name]).transpose("time", "cell")})


def test_good_forcing_passes() -> None:
    check_forcing(good_forcing())


def test_forcing_without_a_cell_dimension_passes() -> None:
    check_forcing(good_forcing(1).isel(cell=0, drop=True), LATITUDE, LONGITUDE)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("Tair", lambda a: a - 273.15, ["Tair is -", "180 to 340 K", "Celsius"]),
        ("PSurf", lambda a: a / 100, ["PSurf is 9", "40000 to 110000 Pa", "hPa"]),
        ("PSurf", lambda a: a / 1000, ["kPa"]),
        ("Rainf", lambda a: a * 86400, ["Rainf is 24", "0 to 0.1 kg m-2 s-1", "mm per hour or day"]),
        ("Rainf", lambda a: -a, ["Rainf is -0.0002", "negative"]),
        ("Qair", lambda a: a * 1000, ["Qair is", "g kg-1 (divide by 1000)"]),
        ("SWdown", lambda a: a * 3600, ["SWdown is", "0 to 1500 W m-2", "J m-2 accumulated"]),
        ("LWdown", lambda a: a - 300, ["LWdown is -", "net longwave"]),
        ("Wind", lambda a: -a, ["Wind is -", "component of the wind"]),
        ("CO2air", lambda a: xr.full_like(a, 380.0), ["CO2air is 380", "ppm"]),
        ("Qair", lambda a: a * 1.5, ["relative humidity of 1", "at most 103 %", "dew point"]),
        (
            "SWdown",
            lambda a: a.roll(time=24),
            ["the sun is at least", "0 to 15 W m-2 at night", "local instead of UTC"],
        ),
    ],
)
def test_wrong_units_and_impossible_values_are_named(
    name: str, change: Callable[[xr.DataArray], xr.DataArray], expected: list[str]
) -> None:
    message = problem(changed(name, change))
    assert message.startswith("winter.nc: 1 problem(s)")
    for words in [*expected, "cell 100 (43.6N 1.4E)", " UTC"]:
        assert words in message


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(FORCING_NAMES),
    record=st.integers(0, DAYS * 48),
    cell=st.integers(0, 2),
    value=st.sampled_from([np.nan, np.inf, -9999.0, 1e20]),
)
def test_one_bad_value_anywhere_is_found_with_its_time_and_place(
    name: str, record: int, cell: int, value: float
) -> None:
    dataset = good_forcing()
    dataset[name].values[record, cell] = value
    (found,) = forcing_problems(dataset)
    time = np.datetime_as_string(dataset["time"].values[record], unit="m")
    assert found.name == name
    assert found.kind == ("impossible" if np.isfinite(value) else "gap")
    assert f"{name} is " in found.text
    assert f"at {time} UTC, cell {100 + cell} (43.6N 1.4E)" in found.text
    assert "(1 of 1443 values)" in found.text


@pytest.mark.parametrize("block", [(48, 1), (100, 2), (481, 3)])
def test_blocks_find_the_same_problems(block: tuple[int, int]) -> None:
    dataset = good_forcing()
    assert forcing_problems(dataset, block=block) == []
    dataset["Tair"].values[[3, 200, 300], [0, 1, 2]] = np.nan
    dataset["PSurf"].values[250:, 1] = 980.0
    dataset["SWdown"].values[:] = np.roll(dataset["SWdown"].values, 24, axis=0)
    dataset["Wind"].attrs["units"] = "knots"

    def summary(problems: list[Problem]) -> dict[tuple[str, str], int]:
        return {(problem.name, problem.kind): problem.count for problem in problems}

    whole = summary(forcing_problems(dataset))
    assert whole[("Tair", "gap")] == 3
    assert whole[("PSurf", "impossible")] == 231
    assert whole[("Wind", "unit")] == 1
    assert ("SWdown", "night_shortwave") in whole
    assert summary(forcing_problems(dataset, block=block)) == whole


def test_missing_value_codes_are_recognised() -> None:
    dataset = good_forcing()
    dataset["Tair"].values[7, 1] = -9999.0
    assert "a code for missing values" in problem(dataset)


def test_a_gap_in_time_is_named() -> None:
    message = problem(good_forcing().drop_isel(time=[100, 101]))
    assert "from 1986-01-03T01:30 UTC to 1986-01-03T03:00 UTC are 5400 s, expected 1800 s" in message
    assert "a gap of 2 record(s)" in message


def test_a_time_given_twice_is_named() -> None:
    dataset = good_forcing()
    assert "the same time twice" in problem(dataset.isel(time=[0, 1, 1, 2, 3, 4]))


def test_times_running_backwards_are_named() -> None:
    dataset = good_forcing()
    assert "run backwards" in problem(xr.concat([dataset, dataset.isel(time=slice(0, 5))], dim="time"))


def test_uneven_times_are_named() -> None:
    dataset = good_forcing()
    times = dataset["time"].values.copy()
    times[50] += np.timedelta64(7, "m")
    message = problem(dataset.assign_coords(time=times))
    assert "2220 s, expected 1800 s (2 of 480 intervals)" in message
    assert "not equally spaced" in message


def test_undefined_time_is_named() -> None:
    dataset = good_forcing()
    times = dataset["time"].values.copy()
    times[3] = np.datetime64("NaT")
    assert "time is undefined (NaT) at record 3" in problem(dataset.assign_coords(time=times))


def test_missing_variable_is_named() -> None:
    message = problem(good_forcing().drop_vars(["LWdown", "CO2air"]))
    assert "missing LWdown, CO2air; expected the ALMA names" in message


def test_wrong_unit_attribute_is_named() -> None:
    dataset = good_forcing()
    dataset["Tair"].attrs["units"] = "degC"
    assert "Tair has the unit 'degC', expected 'K'" in problem(dataset)


def test_every_problem_is_reported_at_once() -> None:
    dataset = changed("Tair", lambda a: a - 273.15)
    dataset["Rainf"].values[9, 2] = np.nan
    assert problem(dataset).startswith("winter.nc: 2 problem(s)")


def test_positions_are_needed_and_must_fit_the_cells() -> None:
    dataset = good_forcing().drop_vars(["latitude"])
    with pytest.raises(ForcingError, match="no latitude and none was given"):
        check_forcing(dataset)
    with pytest.raises(ForcingError, match="2 values of latitude for 3 cells"):
        check_forcing(dataset, [43.0, 44.0])


def test_land_forcing_keeps_values_and_times() -> None:
    dataset = good_forcing()
    timed = land_forcing(dataset.transpose("cell", "time").astype(np.float32))
    assert timed.start == START
    assert timed.step_s == STEP_S
    assert timed.intervals == DAYS * 48
    for name in FORCING_NAMES:
        array = getattr(timed.forcing, name)
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, dataset[name].values.astype(np.float32))


# --- files --------------------------------------------------------------------------------------------------------


def test_hapex_text_is_rounded_to_single_precision(tmp_path: Path) -> None:
    path = tmp_path / "hapex.txt"
    path.write_text(HAPEX_HEADER + " .0 305.0 .1E-03 276.56 3.0 4.0 101110. .468E-02\n" * 2)
    dataset = read_forcing(path, start=np.datetime64("1986-01-01"), step_s=1800, co2=0.0006, snowfall="none")
    assert dataset["Wind"].values.tolist() == [[5.0], [5.0]]
    assert dataset["Tair"].values[0, 0] == np.float64(np.float32(276.56))
    assert dataset["time"].values[1] == np.datetime64("1986-01-01T00:30")
    assert set(dataset.data_vars) == set(FORCING_NAMES)


def test_text_errors_say_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text(HAPEX_HEADER + " .0 305.0 0 276.56 1.0 0.0 101110. .468E-02\n")
    with pytest.raises(ForcingError, match="no times; give the time of its first record"):
        read_forcing(path)
    path.write_text(HAPEX_HEADER + " .0 305.0 0 276.56 1.0\n")
    with pytest.raises(ForcingError, match="line 3: 5 columns, expected 8"):
        read_forcing(path)
    path.write_text(HAPEX_HEADER + " .0 305.0 0 warm 1.0 0.0 101110. .468E-02\n")
    with pytest.raises(ForcingError, match="line 3: not a number"):
        read_forcing(path)
    path.write_text("hello\n")
    with pytest.raises(ForcingError, match="neither NetCDF nor a known text table"):
        read_forcing(path)
    path.write_text(CDP_HEADER + "280 1996100600 .3 309.4 .0 .0 274.4 1.0 100.0\n")
    with pytest.raises(ForcingError, match="no surface pressure"):
        read_forcing(path)
    with pytest.raises(ForcingError, match="no such forcing file"):
        read_forcing(tmp_path / "absent.nc")


def test_col_de_porte_text_has_times_humidity_and_snow(tmp_path: Path) -> None:
    path = tmp_path / "cdp.txt"
    row = "280 19961006{:02d} .3 309.4 .001 1.0 270.0 1.0 100.0\n"
    path.write_text(CDP_HEADER + row.format(0) + row.format(1))
    dataset = read_forcing(path, co2=0.0006, surface_pressure=84000.0)
    assert dataset["time"].values[1] == np.datetime64("1996-10-06T01:00")
    assert dataset["Snowf"].values[0, 0] == np.float64(np.float32(0.001))
    assert dataset["Rainf"].values[0, 0] == 0.0
    check_forcing(dataset, 45.3, 5.77)


def test_total_precipitation_needs_a_rule_for_snow(tmp_path: Path) -> None:
    path = tmp_path / "alma.nc"
    alma = good_forcing(1).drop_vars("Snowf").isel(cell=0, drop=True).rename(PSurf="Psurf", Rainf="Precip")
    alma.to_netcdf(path)
    with pytest.raises(ForcingError, match="no snowfall; say how to split"):
        read_forcing(path)
    split = read_forcing(path, snowfall="below_freezing")
    cold = split["Tair"].values < 273.16
    assert cold.any()
    assert not cold.all()
    np.testing.assert_array_equal(split["Snowf"].values[~cold], 0.0)
    np.testing.assert_array_equal(split["Rainf"].values[cold], 0.0)
    np.testing.assert_array_equal((split["Rainf"] + split["Snowf"]).values[:, 0], alma["Precip"].values)
    assert float(read_forcing(path, snowfall="none")["Snowf"].sum()) == 0.0


def write_packed(path: Path, **attributes: Any) -> xr.Dataset:
    """Forcing of one place with its temperature packed (0.01 K from 250 K, -32768: missing); what it holds, decoded."""
    made = good_forcing(1).isel(cell=0, drop=True)
    made["Tair"].attrs.update(attributes)
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 250.0, "_FillValue": np.int16(-32768)}
    made.to_netcdf(path, encoding={"Tair": packing})
    return made.assign(Tair=((made["Tair"] - 250.0) / 0.01).round() * 0.01 + 250.0)


@pytest.mark.parametrize(
    "declared",
    [
        {"valid_range": np.array([-4000, 6000], dtype="int16")},  # of packed numbers, as CF says
        {"valid_min": 210.0, "valid_max": 310.0},  # of kelvins
        {},
    ],
)
def test_packed_netcdf_is_decoded(tmp_path: Path, declared: dict[str, Any]) -> None:
    expected = write_packed(tmp_path / "packed.nc", **declared)
    found = read_forcing(tmp_path / "packed.nc")
    np.testing.assert_allclose(found["Tair"].values[:, 0], expected["Tair"].values, rtol=0.0, atol=1e-9)
    np.testing.assert_array_equal(found["Rainf"].values[:, 0], expected["Rainf"].values)
    check_forcing(found, LATITUDE, LONGITUDE)


def test_netcdf_outside_its_declared_range_is_refused_with_the_way_on(tmp_path: Path) -> None:
    coldest = write_packed(tmp_path / "packed.nc", valid_min=275.0, valid_max=310.0)["Tair"]
    count = int((coldest < 275.0).sum())
    assert 0 < count < coldest.size
    with pytest.raises(ForcingError) as stopped:
        read_forcing(tmp_path / "packed.nc")
    assert f"{count} of {coldest.size} values of Tair are outside the valid range" in str(stopped.value)
    assert "(valid_min = 275.0, valid_max = 310.0)" in str(stopped.value)
    assert "`ignore` takes the values as they are" in str(stopped.value)
    as_they_are = read_forcing(tmp_path / "packed.nc", valid_range="ignore")
    np.testing.assert_allclose(as_they_are["Tair"].values[:, 0], coldest.values, rtol=0.0, atol=1e-9)


def test_missing_values_of_netcdf_are_gaps(tmp_path: Path) -> None:
    made = good_forcing(1).isel(cell=0, drop=True)
    made["Wind"][7] = np.nan
    made.to_netcdf(tmp_path / "gap.nc", encoding={"Wind": {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -99}})
    with pytest.raises(ForcingError, match=r"Wind is nan at 1986-01-01T03:30 UTC.*a gap in the record"):
        check_forcing(read_forcing(tmp_path / "gap.nc"), LATITUDE, LONGITUDE)


def test_netcdf_of_many_places_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grid.nc"
    good_forcing(2).rename_dims(cell="y").drop_vars("cell").to_netcdf(path)
    with pytest.raises(ForcingError, match=r"dimensions \{'y': 2\}; expected one place"):
        read_forcing(path)


def test_damaged_netcdf_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "broken.nc"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 50)
    with pytest.raises(IngestError, match="truncated or damaged"):
        read_forcing(path)


def test_hapex_text_is_the_reference_forcing() -> None:
    text = read_forcing(
        shared("data/site_flux/HAPEX_1986_30min_forcing.txt"),
        start=np.datetime64("1986-01-01"),
        step_s=1800,
        co2=0.00062,
        snowfall="none",
    )
    reference = read_forcing(shared("reference/surfex/forcing_hapex.nc"))
    for name in set(FORCING_NAMES) - {"CO2air"}:
        np.testing.assert_array_equal(text[name].values, reference[name].values.astype(np.float64), err_msg=name)
    check_forcing(reference, 43.68, -0.1)


def test_col_de_porte_text_is_the_reference_forcing() -> None:
    text = read_forcing(
        shared("data/site_flux/CDP_1996-1997_hourly_forcing.txt"), co2=0.00062, surface_pressure=84000.0
    )
    reference = read_forcing(shared("reference/surfex/forcing_cdp9697.nc"))
    for name in set(FORCING_NAMES) - {"CO2air", "SWdown"}:
        np.testing.assert_array_equal(text[name].values, reference[name].values.astype(np.float64), err_msg=name)
    # The reference holds direct and diffuse radiation apart, each rounded.
    np.testing.assert_allclose(text["SWdown"], reference["SWdown"], rtol=0, atol=1e-4)
    check_forcing(reference, 45.3, 5.77)


def test_a_real_record_in_local_time_with_gaps_is_stopped() -> None:
    record = read_forcing(
        shared("data/site_flux/US-Champaign_1998_halfhourly_forcing_fluxes.nc"), co2=0.0006, snowfall="below_freezing"
    )
    with pytest.raises(ForcingError) as stopped:
        check_forcing(record, 40.01, -88.37)
    message = str(stopped.value)
    assert "SWdown is nan at 1998-07-26T10:00 UTC" in message
    assert "Wind is -0.08 at 1998-07-24T22:00 UTC" in message
    assert "local instead of UTC" in message


def test_carbon_dioxide_in_ppm_is_stopped_by_its_unit() -> None:
    record = read_forcing(shared("data/site_flux/FI-Hyy_1996-2014_FLUXNET2015_Met.nc"), snowfall="below_freezing")
    with pytest.raises(ForcingError, match="CO2air has the unit 'ppm', expected 'kg m-3'"):
        check_forcing(record, 61.85, 24.29)
