"""Errors of the land model, and the base class of every error of this software."""


class LdasError(Exception):
    """Base of every error a user can cause: the message says what was expected, what came, where, and what to do."""


class LandModelError(LdasError):
    """Parameters, state, forcing or options that the land model cannot work with."""
