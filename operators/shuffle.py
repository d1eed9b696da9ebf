"""Shuffled order of a cell's samples in an epoch, from the seed, the cell's identity and the epoch alone.

Neither the position of the cell in a block, nor the other cells, nor what was drawn before has any influence: a cell
trained alone sees the batches it sees among thousands. The generator is SplitMix64 (Steele, Lea and Flood 2014,
Fast splittable pseudorandom number generators, OOPSLA) and the shuffle is that of Fisher and Yates.
"""

import numpy as np
from numpy.typing import NDArray

from ldas.landmodel.array_types import IntArray
from ldas.landmodel.compile import cached

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_CELL_KEY = np.uint64(0xD1B54A32D192ED03)
_EPOCH_KEY = np.uint64(0x8CB92BA72F3D8DD7)


@cached()
def _mix(bits: np.uint64) -> np.uint64:
    """The output function of SplitMix64: every input bit changes half of the output bits."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@cached()
def fill_batches(seed: int, epoch: int, cell_ids: IntArray, counts: IntArray, batches: NDArray[np.int32]) -> None:
    """Fills batches (step, cell, slot) with sample numbers: a random permutation of 0 .. counts[cell] - 1 per cell.

    Slots beyond a cell's number of samples hold 0; the trainer gives them no weight.
    """
    steps, cells, slots = batches.shape
    order = np.empty(steps * slots, np.int32)
    for cell in range(cells):
        count = counts[cell]
        key = _mix(np.uint64(seed) + _GOLDEN_GAMMA)
        key = _mix(key ^ (np.uint64(cell_ids[cell]) + _CELL_KEY))
        state = _mix(key ^ (np.uint64(epoch) + _EPOCH_KEY))
        for sample in range(steps * slots):
            order[sample] = sample if sample < count else 0
        for last in range(count - 1, 0, -1):
            state += _GOLDEN_GAMMA
            # The high 32 bits scaled to 0 .. last: the bias of this scaling is below count / 2^32.
            other = np.int64(((_mix(state) >> np.uint64(32)) * np.uint64(last + 1)) >> np.uint64(32))
            order[last], order[other] = order[other], order[last]
        for sample in range(steps * slots):
            batches[sample // slots, cell, sample % slots] = order[sample]
