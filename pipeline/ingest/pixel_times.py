"""When the pixels of a gridded product were seen, where each has a time of its own, and so the cells."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ldas.landmodel.array_types import Array, Times
from ldas.pipeline import files
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest.cgls import Dated, Row
from ldas.pipeline.ingest.packed import unpack

FARTHEST = np.timedelta64(2, "D")
"""From the date of a file to the time of a pixel: at six in the morning, local time, the UTC day may be another."""


def seconds_since(array: xr.DataArray, begin: np.datetime64, origin: datetime | None, path: Path) -> Array:
    """Seconds from `begin` to when each pixel was seen; NaN where that is unknown, or far from it, as fill values are.

    Args:
        array: dates, ISO 8601 text (UTC), or numbers: seconds from `origin`.
        begin: of the date of the file.
        origin: UTC, where it has no time zone.
        path: of the file.

    Raises:
        IngestError: numbers without an origin.
    """
    stored = files.values(array, path)
    second = np.timedelta64(1, "s")
    if stored.dtype.kind in "SUO":
        text = pd.Series([item.decode() if isinstance(item, bytes) else str(item) for item in stored.reshape(-1)])
        parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
        stored = parsed.to_numpy().reshape(stored.shape)
    if stored.dtype.kind == "M":
        seconds = np.where(np.isnat(stored), np.nan, (stored.astype("datetime64[ns]") - begin) / second)
    elif origin is not None:
        of_day = origin.astimezone(UTC).replace(tzinfo=None) if origin.tzinfo else origin
        seconds = unpack(array, path).values + (np.datetime64(of_day, "ns") - begin) / second
    else:
        raise IngestError(
            f"{path}: {array.name} holds numbers with units {str(array.attrs.get('units', ''))!r}, which are no dates: "
            "give `pixel_time_origin`, the instant from which they count seconds"
        )
    return np.where(np.abs(seconds) <= FARTHEST / second, seconds, np.nan)


def times_of_cells(dated: Dated, row: Row, since: Array | None) -> Times:
    """When each cell was seen, to the second: so many seconds after the begin of the date; without any, at its end."""
    if since is None:
        return np.full(row.value.shape, dated.end)
    known = np.isfinite(since)
    seconds = np.round(np.where(known, since, 0.0)).astype("timedelta64[s]")
    return np.where(known, dated.begin + seconds, np.datetime64("NaT", "ns"))
