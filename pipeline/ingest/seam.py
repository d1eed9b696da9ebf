"""The end of a stored forcing, at which an append continues: what was made there without the hour that follows.

An instant of centred radiation needs the mean of the hour after it, and the snowfall of an hour the temperature before
it. So the last hourly means and temperature are kept in double precision, and the last stored record is made again: a
forcing in pieces has the bytes of one that was ingested at once.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ldas.pipeline.errors import IngestError
from ldas.pipeline.files import instant
from ldas.pipeline.ingest import filter_states, forcing_fields
from ldas.pipeline.store.location import Location


@dataclass(frozen=True)
class StoredEnd:
    """First and last time of a stored forcing, its last record (cell), and what is known of it beside the values.

    `state` is None where an earlier version of ldas wrote the forcing.
    """

    first: np.datetime64
    last: np.datetime64
    record: xr.Dataset
    state: xr.Dataset | None

    @staticmethod
    def of(location: Location, group: str, stored: xr.Dataset) -> "StoredEnd":
        """The end of a stored group."""
        times = stored["time"].to_numpy()
        record = stored.isel(time=-1).load()
        return StoredEnd(times[0], times[-1], record, filter_states.state_of(location, group, stored))

    @property
    def temperature(self) -> xr.DataArray:
        """Tair (cell) of the last record, as exact as it is known, with its time."""
        source = self.record if self.state is None else self.state
        return xr.DataArray(source["Tair"].to_numpy().astype(np.float64), dims="cell", coords={"time": self.last})

    def fits(self, dataset: xr.Dataset) -> bool:
        """Whether the cells are those of a dataset."""
        names = ("latitude", "longitude")
        return all(np.array_equal(self.record[name].to_numpy(), dataset[name].to_numpy()) for name in names)

    def made_again(self, name: str, hour_mean: np.ndarray | None, where: str) -> np.ndarray:
        """The last stored value of a variable (cell): centred, where the mean of the hour that follows is known now.

        Args:
            hour_mean: mean of the hour after the last stored record, for centred radiation.

        Raises:
            IngestError: a missing hour.
        """
        stored: np.ndarray = self.record[name].to_numpy()
        if hour_mean is None or self.state is None:
            return stored
        centred = 0.5 * (self.state[forcing_fields.HOUR_MEAN.format(name)].to_numpy() + hour_mean)
        if not np.isfinite(centred).all():
            raise IngestError(
                f"{where}: {name} is missing in the hour after {instant(self.last)}, and the stored value of that time "
                "is the mean of the hours around it; complete the files, or end the earlier ingest before"
            )
        return centred.astype(stored.dtype)


def state_after(part: xr.Dataset) -> xr.Dataset:
    """What the next append needs of the last record of computed forcing (time, cell)."""
    names = ["Tair", *(str(name) for name in part.data_vars if str(name).endswith(forcing_fields.HOUR_MEAN[2:]))]
    last = part[names].isel(time=-1)
    return xr.Dataset(
        {name: ("cell", last[name].to_numpy().astype(np.float64), last[name].attrs) for name in names},
        attrs={"comment": "the last record in double precision: read by the next append"},
    )
