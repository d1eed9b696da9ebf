"""What became of every observation: one code per cell, window and observation type (as in DART's quality control)."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

CodeArray = NDArray[np.int8]


class Quality(IntEnum):
    """Quality code of one observation; 0 means that it was assimilated. The numbers are stored: never renumber."""

    USED = 0
    MISSING = 1
    OUTSIDE_VALID_RANGE = 2
    REJECTED_INNOVATION = 3
    MASKED_FROZEN = 4
    MASKED_SNOW = 5
    MASKED_TOPOGRAPHY = 6
    MASKED_WATER = 7
    MASKED_URBAN = 8
    MASKED_PRODUCT_FLAG = 9
    OPERATOR_ABSENT = 10
    OPERATOR_FAILED = 11
    ERROR_NOT_POSITIVE = 12
    JACOBIAN_FAILED = 13
    STATE_NOT_FINITE = 14
    NOT_ASSIMILATED = 15
    NO_SNOW_IN_MODEL = 16


QUALITY_MEANING: dict[Quality, str] = {
    Quality.USED: "assimilated",
    Quality.MISSING: "no observation in the window",
    Quality.OUTSIDE_VALID_RANGE: "observation outside the valid range of its type",
    Quality.REJECTED_INNOVATION: "innovation larger than the limit of its type",
    Quality.MASKED_FROZEN: "frozen soil in the model",
    Quality.MASKED_SNOW: "snow in the model",
    Quality.MASKED_TOPOGRAPHY: "complex topography",
    Quality.MASKED_WATER: "too much open water in the cell",
    Quality.MASKED_URBAN: "too much urban area in the cell",
    Quality.MASKED_PRODUCT_FLAG: "flagged by the producer of the observation",
    Quality.OPERATOR_ABSENT: "no usable observation operator for the cell",
    Quality.OPERATOR_FAILED: "observation operator refused the model state or gave a non-finite value",
    Quality.ERROR_NOT_POSITIVE: "observation error unknown or zero",
    Quality.JACOBIAN_FAILED: "Jacobian or ensemble covariance not finite",
    Quality.STATE_NOT_FINITE: "model state of the cell not finite: cell set aside",
    Quality.NOT_ASSIMILATED: "compared with the model only, by configuration",
    Quality.NO_SNOW_IN_MODEL: "snow observed where the model has none: the filter makes no snow",
}
