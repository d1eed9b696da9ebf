"""The registry of variables."""

import numpy as np
import pytest

from ldas.landmodel import quantities
from ldas.landmodel.outputs import OUTPUT_NAMES
from ldas.pipeline import registry
from ldas.pipeline.errors import RegistryError


def test_knows_every_output_of_the_land_model_with_its_unit() -> None:
    units = {q.surfex or q.name: q.unit for q in (*quantities.STATE, *quantities.SURFACE, *quantities.FLUXES)}
    assert set(OUTPUT_NAMES) == set(units)
    assert {name: registry.variable(name).unit for name in units} == units


@pytest.mark.parametrize("table", [quantities.STATE, quantities.FORCING])
def test_what_the_registry_accepts_the_model_accepts(table: tuple[quantities.Quantity, ...]) -> None:
    narrower = []
    for quantity in table:
        limits = registry.variable(quantity.surfex or quantity.name).valid_range
        assert limits is not None
        if not quantity.low <= limits[0] < limits[1] <= quantity.high:
            narrower.append((quantity.name, (quantity.low, quantity.high), limits))
    assert narrower == []


@pytest.mark.parametrize("name", [n for group in registry.GROUPS for n in registry.names(group)])
def test_every_entry_is_complete(name: str) -> None:
    entry = registry.variable(name)
    assert entry.group in registry.GROUPS
    assert entry.unit
    assert entry.long_name
    if entry.valid_range:
        assert entry.valid_range[0] < entry.valid_range[1]


def test_layers_families_and_patches() -> None:
    layer = registry.variable("WG12")
    assert (layer.layer, layer.unit, layer.axis) == (12, "m3 m-3", None)
    assert registry.base_name("WG12") == "WG"
    assert registry.base_name("TG3_patch") == "TG"
    assert registry.base_name("sigma40") == "sigma40"
    assert registry.variable("innovation_sigma40").unit == "dB"
    assert registry.variable("increment_WG2").unit == "m3 m-3"
    assert registry.variable("quality_lai").unit == "1"
    assert registry.variable("LAI_patch").axis == "patch"
    assert registry.attributes("LE")["standard_name"] == "surface_upward_latent_heat_flux"


@pytest.mark.parametrize(("name", "near"), [("LEE", "LE"), ("tair", "Tair"), ("WG2x", "WG"), ("innovation_", "")])
def test_unknown_names_get_a_suggestion(name: str, near: str) -> None:
    with pytest.raises(RegistryError, match=rf"unknown variable '{name}'.*{near}"):
        registry.variable(name)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("Tair", 12.0, "Celsius"),
        ("PSurf", 980.0, "hPa"),
        ("PSurf", 98.0, "kPa"),
        ("Rainf", 3.0, "mm per hour or day"),
        ("Rainf", -0.001, "negative"),
        ("Qair", 60.0, "relative humidity"),
        ("CO2air", 400.0, "ppm"),
        ("clay", 37.0, "percent"),
    ],
)
def test_values_outside_the_range_are_named_with_the_likely_mistake(name: str, value: float, hint: str) -> None:
    low, high = registry.variable(name).valid_range or (0.0, 0.0)
    values = np.full((3, 2), (low + high) / 2)
    values[1, 1] = value
    labels = (("time", np.array(["a", "b", "c"])), ("cell", np.array([7, 8])))
    with pytest.raises(RegistryError) as caught:
        registry.check_range(name, values, where="forcing.nc", labels=labels)
    message = str(caught.value)
    assert message.startswith(f"forcing.nc: {name} = ")
    assert "at time b, cell 8" in message
    assert "1 of 6" in message
    assert hint in message


def test_missing_values_are_errors_unless_allowed() -> None:
    values = np.array([280.0, np.nan])
    with pytest.raises(RegistryError, match="not a finite number"):
        registry.check_range("Tair", values, where="x")
    registry.check_range("Tair", values, where="x", allow_missing=True)
    with pytest.raises(RegistryError, match="not a finite number"):
        registry.check_range("Tair", np.array([np.inf]), where="x", allow_missing=True)
