"""The land model on a graphics card: its science files compiled a second time, one thread for each column.

    from ldas.landmodel import Isba
    from ldas.landmodel.gpu import CardError, columns_that_fit, find_card

    try:
        card = find_card()
    except CardError as error:  # no card, no extra, a driver or a NumPy that does not fit: the message says which
        ...
    most = columns_that_fit(card, members=1, output_values=40)
    state, outputs = Isba(parameters).run(state, forcing, "2007-01-01T00", device="gpu")

Nothing here needs the extra `gpu` before a card is asked for. Numbers differ from the CPU's in the last digits.
"""

from ldas.landmodel.gpu.card import Card, CardError, check_memory, columns_that_fit, find_card

__all__ = ["Card", "CardError", "check_memory", "columns_that_fit", "find_card"]
