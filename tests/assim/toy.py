"""Small land models with known answers, on states with the land model's own fields."""

from typing import NamedTuple

import numpy as np

LAYERS = 14
DAY_S = 86400


class State(NamedTuple):
    soil_temperature: np.ndarray
    soil_water: np.ndarray
    soil_ice: np.ndarray
    intercepted_water: np.ndarray
    snow_water_equivalent: np.ndarray
    leaf_area_index: np.ndarray
    biomass: np.ndarray


class Parameters(NamedTuple):
    cell: np.ndarray
    patch: np.ndarray
    fraction: np.ndarray
    clay: np.ndarray
    wsat: np.ndarray
    water_layers: np.ndarray
    bslai: np.ndarray


class Forcing(NamedTuple):
    Tair: np.ndarray
    Qair: np.ndarray
    Wind: np.ndarray
    PSurf: np.ndarray
    SWdown: np.ndarray
    LWdown: np.ndarray
    Rainf: np.ndarray
    Snowf: np.ndarray
    CO2air: np.ndarray


def parameters(cell, patch, fraction, clay=0.25):
    """Columns with 10 water layers, rock and snow with 4."""
    patch = np.asarray(patch)
    columns = patch.size
    return Parameters(
        cell=np.asarray(cell),
        patch=patch,
        fraction=np.asarray(fraction, dtype=float),
        clay=np.full((columns, LAYERS), clay),
        wsat=np.full((columns, LAYERS), 0.45),
        water_layers=np.where((patch == 2) | (patch == 3), 4, 10),
        bslai=np.where(patch >= 4, 0.07, 0.17),
    )


def state(parameters, seed=0):
    """A plausible random state; LAI of unvegetated patches and water below the soil are undefined."""
    random = np.random.default_rng(seed)
    columns = parameters.cell.size
    water = random.uniform(0.15, 0.40, (columns, LAYERS))
    water[np.arange(LAYERS) >= parameters.water_layers[:, None]] = np.nan
    lai = np.where(parameters.patch >= 4, random.uniform(1.1, 5.0, columns), np.nan)
    return State(
        soil_temperature=random.uniform(278.0, 300.0, (columns, LAYERS)),
        soil_water=water,
        soil_ice=np.zeros((columns, LAYERS)),
        intercepted_water=random.uniform(0.0, 0.2, columns),
        snow_water_equivalent=np.zeros((columns, 3)),
        leaf_area_index=lai,
        biomass=np.stack([np.where(np.isnan(lai), 0.0, 0.07 * lai), lai, lai], axis=-1),
    )


def forcing(cells, hours=24, seed=0):
    """Hourly forcing for `cells`; rain in some hours."""
    random = np.random.default_rng(seed)
    shape = (hours + 1, cells)
    values = dict.fromkeys(Forcing._fields, np.ones(shape))
    values["Tair"] = random.uniform(280.0, 295.0, shape)
    values["SWdown"] = random.uniform(0.0, 800.0, shape)
    values["LWdown"] = random.uniform(250.0, 400.0, shape)
    values["Rainf"] = np.where(random.uniform(size=shape) < 0.2, 1e-4, 0.0)
    values["Snowf"] = np.zeros(shape)
    return Forcing(**values)


class LinearModel:
    """x(t + 24 h) = M x(t) + b for x = (LAI, WG1..WG14 at most) of every column; the rest stays as it is.

    transition (column, 15, 15) and drift (column, 15) act on what is defined. The rain of the forcing enters WG1.
    """

    def __init__(self, parameters, transition=None, drift=None):
        self.parameters = parameters
        columns = parameters.cell.size
        self.transition = np.broadcast_to(np.eye(1 + LAYERS), (columns, 1 + LAYERS, 1 + LAYERS))
        if transition is not None:
            self.transition = np.broadcast_to(transition, (columns, 1 + LAYERS, 1 + LAYERS))
        self.drift = np.zeros((columns, 1 + LAYERS)) if drift is None else drift
        self.runs = []

    def run(self, state, forcing, *, start, step_s, steps, output, forcing_start, forcing_step_s):
        self.runs.append((start, step_s * steps))
        lai, water = state.leaf_area_index, state.soil_water
        x = np.concatenate([lai[..., None], water], axis=-1)
        defined = np.isfinite(x)
        new = np.einsum("cij,c...j->c...i", self.transition, np.where(defined, x, 0.0))
        new += self.drift[:, None] if x.ndim == 3 else self.drift
        new = np.where(defined, new, np.nan)
        ratio = np.where(np.isfinite(lai) & (lai > 0.0), new[..., 0] / np.where(lai > 0.0, lai, 1.0), 1.0)
        biomass = state.biomass.copy()
        biomass[..., 0] *= ratio
        end = state._replace(leaf_area_index=new[..., 0], soil_water=new[..., 1:], biomass=biomass)
        daily = {"LAI": end.leaf_area_index[None].copy(), "WG": end.soil_water[None].copy()}
        return end, daily


class Direct:
    """Observation = one state variable of the grid mean."""

    def __init__(self, name, cells, unit, output_name=None):
        self.predictor_names, self.predictor_units = (name,), (unit,)
        self.output_name, self.output_unit = output_name or name, unit
        self.cell_ids = np.arange(cells) if np.ndim(cells) == 0 else np.asarray(cells)
        self.usable = np.ones(self.cell_ids.size, dtype=bool)

    def predict(self, predictors):
        return predictors[..., 0].copy()

    def jacobian(self, predictors):
        return np.ones_like(predictors)

    def select(self, cells):
        part = Direct(self.predictor_names[0], self.cell_ids[cells], self.output_unit, self.output_name)
        part.usable = self.usable[cells]
        return part


class Backscatter(Direct):
    """A smooth nonlinear operator of WG2, TG2 and LAI (dB)."""

    def __init__(self, cells):
        super().__init__("WG2", cells, "m3 m-3", "sigma40")
        self.predictor_names = ("WG2", "TG2", "LAI")
        self.predictor_units = ("m3 m-3", "K", "m2 m-2")
        self.output_unit = "dB"

    def predict(self, predictors):
        wg2, tg2, lai = np.moveaxis(predictors, -1, 0)
        return -14.0 + 12.0 * wg2 + 0.02 * (tg2 - 285.0) + 0.4 * np.tanh(lai - 2.0)

    def jacobian(self, predictors):
        lai = predictors[..., 2]
        slopes = [np.full_like(lai, 12.0), np.full_like(lai, 0.02), 0.4 / np.cosh(lai - 2.0) ** 2]
        return np.stack(slopes, axis=-1)

    def select(self, cells):
        part = Backscatter(self.cell_ids[cells])
        part.usable = self.usable[cells]
        return part
