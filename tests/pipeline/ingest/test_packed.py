"""Attributes of packed variables: signedness, fill values, valid ranges in packed and physical numbers, flags."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.packed import PackedOptions, flag_entries, unpack

LAI = (0.0, 15.0)
PERCENT = (0.0, 100.0)


def values(packed: Any, limits: Any = None, options: PackedOptions | None = None, **attributes: Any) -> list[float]:
    """Unpacked values, None for missing ones."""
    array = xr.DataArray(packed, attrs=attributes, name="v")
    found = unpack(array, "file.nc", limits, options).values  # type: ignore[arg-type]
    return [None if np.isnan(item) else round(float(item), 4) for item in found]  # type: ignore[misc]


def u1(*numbers: int) -> Any:
    return np.array(numbers, dtype="uint8")


def i2(*numbers: int) -> Any:
    return np.array(numbers, dtype="int16")


@pytest.mark.parametrize(
    ("valid", "limits", "packed", "scale", "expected"),
    [
        ({"valid_range": u1(0, 210)}, LAI, u1(30, 210, 211), 1 / 30, [1.0, 7.0, None]),
        ({"valid_range": np.array([0.0, 7.0])}, LAI, u1(30, 210, 211), 1 / 30, [1.0, 7.0, None]),  # physical
        ({"valid_range": u1(0, 7)}, LAI, u1(30, 210, 211), 1 / 30, [1.0, 7.0, None]),  # physical, of the packed type
        ({"valid_min": u1(0)[0], "valid_max": u1(100)[0]}, LAI, u1(50, 100, 101), 0.1, [5.0, 10.0, None]),
        ({"valid_min": 0.0, "valid_max": 10.0}, LAI, u1(50, 100, 101), 0.1, [5.0, 10.0, None]),
        ({"valid_range": u1(0, 200)}, PERCENT, u1(100, 200, 201), 0.5, [50.0, 100.0, None]),
        ({"valid_range": np.array([0.0, 200.0])}, PERCENT, u1(100, 200, 201), 0.5, [50.0, 100.0, None]),
        ({"valid_range": u1(0, 100)}, PERCENT, u1(100, 200, 201), 0.5, [50.0, 100.0, None]),
        # Unknown quantity: CF's packed numbers, unless the attribute has the type of the physical ones.
        ({"valid_range": u1(0, 100)}, None, u1(100, 101), 0.5, [50.0, None]),
        ({"valid_range": np.array([0.0, 100.0])}, None, u1(100, 201), 0.5, [50.0, None]),
    ],
)
def test_valid_ranges_in_packed_and_in_physical_numbers(valid, limits, packed, scale, expected):
    assert values(packed, limits, scale_factor=scale, **valid) == expected


def test_a_key_overrules_what_is_decided():
    array = {"scale_factor": 0.5, "valid_range": u1(0, 100)}
    assert values(u1(100, 200), PERCENT, PackedOptions(valid_range="packed"), **array) == [50.0, None]
    assert values(u1(100, 200), PERCENT, PackedOptions(valid_range="ignore"), **array) == [50.0, 100.0]
    (note,) = unpack(xr.DataArray(u1(1), attrs=array, name="SWI"), "f", PERCENT).notes  # type: ignore[arg-type]
    assert note.startswith("SWI: its valid range (0 to 100) is read in physical units")


@pytest.mark.parametrize(
    ("packed", "attributes", "expected"),
    [
        (u1(10, 255), {"scale_factor": 1 / 30}, [0.3333, None]),  # 8.5 would be a possible LAI
        (i2(10, 32767, -9999), {"scale_factor": 0.1}, [1.0, None, None]),
        (np.array([1.0, 1e20, 9.96921e36, -9999.0, np.nan], dtype="float32"), {}, [1.0, None, None, None, None]),
        (i2(10, -1, 32767), {"scale_factor": 0.1, "_FillValue": i2(-1)[0]}, [1.0, None, None]),
        (i2(10, -1, -2), {"scale_factor": 0.1, "missing_value": i2(-1, -2)}, [1.0, None, None]),
        (u1(10, 255), {"scale_factor": 0.1, "missing_value": 25.5}, [1.0, None]),  # a physical number
        (np.array([1.0, -9.9], dtype="float32"), {"missing_value": -9.9}, [1.0, None]),  # of double precision
    ],
)
def test_fill_values_declared_or_not_are_never_data(packed, attributes, expected):
    assert values(packed, LAI, **attributes) == expected


def test_nodata_names_what_is_no_data_and_what_is():
    assert values(u1(10, 255, 99), LAI, PackedOptions(nodata=()), scale_factor=0.05) == [0.5, 12.75, 4.95]
    assert values(u1(10, 255, 99), LAI, PackedOptions(nodata=(99,)), scale_factor=0.05) == [0.5, 12.75, None]


def test_unsigned_numbers_in_signed_variables():
    packed = np.array([10, -56, -1, -5], dtype="int8")  # 10, 200, 255, 251
    attributes = {"scale_factor": 0.5, "_Unsigned": "true", "_FillValue": np.int8(-1)}
    assert values(packed, PERCENT, valid_range=np.array([0, -56], dtype="int8"), **attributes) == [
        5.0,
        100.0,
        None,
        None,
    ]
    signed = np.array([10, 246], dtype="uint8")
    assert values(signed, None, _Unsigned="false") == [10.0, -10.0]


def test_an_impossible_value_is_named_unless_it_may_be_missing():
    with pytest.raises(
        IngestError, match=r"file\.nc: v is 20 \(200 as stored\), expected 0 to 15 \(1 such values\).*`nodata`"
    ):
        values(u1(10, 200), LAI, scale_factor=0.1)
    assert values(u1(10, 200), LAI, PackedOptions(out_of_range="missing"), scale_factor=0.1) == [1.0, None]


def test_flags_as_numbers_and_as_ranges():
    assert flag_entries({"flag_values": u1(251, 252), "flag_meanings": "water snow"}) == [
        (251.0, 251.0, "water"),
        (252.0, 252.0, "snow"),
    ]
    given = {"flag_values": "241-250, 251b", "flag_meanings": "bad water"}
    assert flag_entries(given) == [(241.0, 250.0, "bad"), (251.0, 251.0, "water")]
    assert values(u1(10, 245, 251), LAI, scale_factor=0.05, **given) == [0.5, None, None]
