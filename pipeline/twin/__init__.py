"""The twin: a synthetic southwestern France with its weather, a nature run and noisy observations of it.

Everything here is made up from seeds and from monthly statistics of real records; every group it writes says so. It is
there to test the assimilation against a truth that is known (docs/twin.md).
"""

from typing import Any

SYNTHETIC_ATTRIBUTES: dict[str, Any] = {
    "synthetic": "true",
    "synthetic_statement": "These data are synthetic: made by a seeded generator, not measured and not of any product.",
}
