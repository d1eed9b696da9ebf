"""Options of the land model that SURFEX leaves to its user, with the defaults of this software."""

from dataclasses import dataclass
from typing import Literal

from ldas.landmodel.errors import LandModelError


@dataclass(frozen=True)
class Options:
    """Choices of physics and numerics (SURFEX namelist names in brackets).

    Raises `LandModelError` for a value that is not offered.
    """

    pedotransfer: Literal["CH78", "CO84"] = "CH78"
    """Clapp and Hornberger 1978 or Cosby et al. 1984 (CPEDOTF); LDAS-Monde's choice is UNVERIFIED."""
    light_scheme: Literal["gauss", "carrer"] = "gauss"
    """Canopy light: three Gauss levels or Carrer et al. 2013 (LTR_ML); LDAS-Monde's choice is UNVERIFIED."""
    runoff: Literal["WSAT", "DT92"] = "WSAT"
    """Saturation runoff (CRUNOFF): none before the column is full, or Dümenil and Todini 1992."""
    horton: bool = False
    """Infiltration excess runoff (CHORT=SGH)."""
    drip: Literal["DEF", "SGH"] = "DEF"
    """Rain over the whole cell or over a part of it (CRAIN)."""
    snow_layers: Literal[3, 12] = 12
    """Layers of the explicit snow pack (NSNOW_LAYER); LDAS-Monde's choice is UNVERIFIED."""
    soil_respiration: Literal["DEF", "PRM"] = "DEF"
    """Ecosystem respiration after Norman et al. 1992 or from a rate per vegetation type (CRESPSL)."""
    conserve_heat: bool = False
    """Couple surface and soil with the inertia of the composite surface, which conserves heat. SURFEX couples with
    that of bare ground (the default, because it is the reference)."""
    energy_substep_s: float = 300.0
    """Aimed length of the energy sub-steps (s)."""

    def __post_init__(self) -> None:
        choices = {
            "pedotransfer": ("CH78", "CO84"),
            "light_scheme": ("gauss", "carrer"),
            "runoff": ("WSAT", "DT92"),
            "drip": ("DEF", "SGH"),
            "snow_layers": (3, 12),
            "soil_respiration": ("DEF", "PRM"),
            "horton": (False, True),
            "conserve_heat": (False, True),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise LandModelError(f"option {name}: expected one of {', '.join(map(str, allowed))}, got {value!r}")
        if not self.energy_substep_s > 0.0:
            raise LandModelError(f"option energy_substep_s: expected a positive number, got {self.energy_substep_s!r}")
