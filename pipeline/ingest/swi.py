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
    result = np.empty(len(time))
    index = 0.0
    for i, gain in enumerate(_gains(time, characteristic_days)):
        index = index + gain * (float(soil_moisture[i]) - index)
        result[i] = index
    return result


def soil_water_index_error(time: Times, error: Array, characteristic_days: float) -> Array:
    """Standard deviation of the SWI from that of the observations (independent errors), with the filter's weights."""
    result = np.empty(len(time))
    variance = 0.0
    for i, gain in enumerate(_gains(time, characteristic_days)):
        variance = (1.0 - gain) ** 2 * variance + (gain * float(error[i])) ** 2
        result[i] = variance
    return np.sqrt(result)


def _gains(time: Times, characteristic_days: float) -> list[float]:
    """The gain K of every observation: 1 for the first, then K / (K + exp(-interval / T))."""
    if characteristic_days <= 0:
        raise IngestError(
            f"the characteristic time of the soil water index must be positive, got {characteristic_days}"
        )
    if not len(time):
        return []
    days = (time - time[0]).astype("timedelta64[ms]").astype(np.float64) / 86400e3
    gains = [1.0]
    for decay in np.exp(-np.diff(days) / characteristic_days).tolist():
        gains.append(gains[-1] / (gains[-1] + decay))
    return gains
