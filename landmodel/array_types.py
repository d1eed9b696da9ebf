"""Types of arrays in signatures, for the whole program."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Times = NDArray[np.datetime64]
Days = NDArray[np.datetime64]
"""Times that are whole days."""
