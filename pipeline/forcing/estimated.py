"""Which part of a forcing was not measured, as the store keeps it and `ldas check` and the report show it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ESTIMATED = "estimated"  # attribute of the forcing: a list of `Estimate`


@dataclass(frozen=True)
class Estimate:
    """One variable (ALMA name), how some of its hours were made, from what source, and their share of all (0..1)."""

    variable: str
    method: str
    source: str
    share: float

    def __str__(self) -> str:
        return f"{self.variable}, {100.0 * self.share:.3g} % of the hours: {self.method} ({self.source})"

    def stored(self) -> dict[str, Any]:
        """As an entry of the attribute."""
        return asdict(self)


def estimates_of(attributes: Mapping[str, Any]) -> list[Estimate]:
    """The estimates in the attributes of a forcing; none where all was measured."""
    found = attributes.get(ESTIMATED, [])
    return [Estimate(**entry) for entry in found] if isinstance(found, list) else []
