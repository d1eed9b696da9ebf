"""The soil water index: surface soil moisture smoothed by an exponential filter in time."""

import numpy as np
import numpy.typing as npt

from pipeline.ingest.errors import IngestError
from pipeline.ingest.files import Times

Array = npt.NDArray[np.float64]


def soil_water_index(time: Times, soil_moisture: Array, characteristic_days: float) -> Array:
    """SWI at the times of the observations, by the recursion of Albergel et al. (2008, HESS 12, 1323, eq. 5-6).

    It equals the mean of all observations up to then, weighted by exp(-(age)/T) (Wagner et al. 1999).

    :param time: increasing, (n,)
    :param soil_moisture: in any unit, (n,), without missing values
    :param characteristic_days: T, days
    """
    if characteristic_days <= 0:
        raise IngestError(
            f"the characteristic time of the soil water index must be positive, got {characteristic_days}"
        )
    result = np.empty_like(soil_moisture, dtype=np.float64)
    if not len(result):
        return result
    days = (time - time[0]).astype("timedelta64[ms]").astype(np.float64) / 86400e3
    decay = np.exp(-np.diff(days, prepend=days[0]) / characteristic_days)
    gain, index = 1.0, float(soil_moisture[0])
    result[0] = index
    for i in range(1, len(result)):
        gain = gain / (gain + decay[i])
        index = index + gain * (float(soil_moisture[i]) - index)
        result[i] = index
    return result
