"""Options of the land model that SURFEX leaves to its user, with the defaults of this software."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from ldas.landmodel.errors import LandModelError


def _option(default: Any, description: str, *, above: float | None = None) -> Any:
    """An option with what configuration files say of it; above: what a number must exceed."""
    return field(default=default, metadata={"description": description, "above": above})


@dataclass(frozen=True)
class Options:
    """Choices of physics and numerics (SURFEX namelist names in brackets).

    The options of an experiment and of a site file are made from these fields: type, default, description.

    Raises:
        LandModelError: a value that is not offered.
    """

    pedotransfer: Literal["CH78", "CO84"] = _option("CH78", "Soil hydraulic properties from clay and sand")
    """Clapp and Hornberger 1978 or Cosby et al. 1984 (CPEDOTF); LDAS-Monde's choice is UNVERIFIED."""
    light_scheme: Literal["gauss", "carrer"] = _option("gauss", "Light in the canopy")
    """Canopy light: three Gauss levels or Carrer et al. 2013 (LTR_ML); LDAS-Monde's choice is UNVERIFIED."""
    runoff: Literal["WSAT", "DT92"] = _option("WSAT", "Saturation runoff")
    """Saturation runoff (CRUNOFF): none before the column is full, or Dümenil and Todini 1992."""
    horton: bool = _option(False, "Infiltration excess runoff")
    """Infiltration excess runoff (CHORT=SGH)."""
    drip: Literal["DEF", "SGH"] = _option("DEF", "Spatial variability of rain for interception")
    """Rain over the whole cell or over a part of it (CRAIN)."""
    snow_layers: Literal[3, 12] = _option(12, "Number of snow layers")
    """Layers of the explicit snow pack (NSNOW_LAYER); LDAS-Monde's choice is UNVERIFIED."""
    soil_respiration: Literal["DEF", "PRM"] = _option("DEF", "Heterotrophic respiration")
    """Ecosystem respiration after Norman et al. 1992 or from a rate per vegetation type (CRESPSL)."""
    conserve_heat: bool = _option(False, "Composite surface coupled to the soil so that heat is conserved")
    """Couple surface and soil with the inertia of the composite surface, which conserves heat. SURFEX couples with
    that of bare ground (the default, because it is the reference)."""
    energy_substep_s: float = _option(300.0, "Aimed length of the energy sub-steps (s)", above=0.0)
    """Aimed length of the energy sub-steps (s)."""

    def __post_init__(self) -> None:
        types = get_type_hints(Options)
        for entry in fields(self):
            value, allowed = getattr(self, entry.name), get_args(types[entry.name])
            if types[entry.name] is bool:
                allowed = (False, True)
            if allowed and value not in allowed:
                raise LandModelError(
                    f"option {entry.name}: expected one of {', '.join(map(str, allowed))}, got {value!r}"
                )
            above = entry.metadata["above"]
            if above is not None and not value > above:
                raise LandModelError(f"option {entry.name}: expected a positive number, got {value!r}")
