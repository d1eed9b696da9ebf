"""Small land models with known answers, on the land model's own states and parameters."""

import numpy as np

import landmodel
from landmodel import Forcing, State
from landmodel.vegetation_table import VEGETATION_OF_PATCH

LAYERS = 14


def parameters(cell, patch, fraction, clay=0.25):
    """Columns of the standard patches."""
    vegetation = [VEGETATION_OF_PATCH[number - 1] for number in patch]
    return landmodel.columns(vegetation, cell, patch, fraction, clay=clay, sand=0.40, latitude=44.0, longitude=0.5)


def state(parameters, seed=0):
    """A plausible random state."""
    random = np.random.default_rng(seed)
    columns = parameters.columns
    moist = np.arange(LAYERS) < parameters.moist_layers[:, None]
    water = np.where(moist, random.uniform(0.15, 0.40, (columns, LAYERS)), 0.0)
    temperature = random.uniform(278.0, 300.0, (columns, LAYERS))
    return landmodel.initial_state(parameters, temperature, water, random.uniform(1.1, 5.0, columns))


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
    """x(t + 24 h) = M x(t) + b for x = (LAI, WG1..WG14) of every column; the rest stays as it is.

    transition (15, 15) or (column, 15, 15) and drift (column, 15) act on what is defined; the leaf biomass follows LAI.
    """

    def __init__(self, parameters, transition=None, drift=None):
        self.parameters = parameters
        columns = parameters.columns
        shape = (columns, 1 + LAYERS, 1 + LAYERS)
        self.transition = np.broadcast_to(np.eye(1 + LAYERS) if transition is None else transition, shape)
        self.drift = np.zeros((columns, 1 + LAYERS)) if drift is None else drift
        moist = np.arange(LAYERS) < parameters.moist_layers[:, None]
        self.defined = np.concatenate([parameters.vegetated[:, None] > 0.5, moist], axis=1)
        self.starts, self.shapes, self.where = [], [], []  # of all runs

    def run(
        self, state, forcing, *, start, step_s, steps, forcing_step_s, output, threads, allow_nonfinite, where=None
    ):
        assert np.shape(forcing.Tair)[0] == steps * step_s / forcing_step_s + 1
        self.starts.append(start)
        lai = state.leaf_area_index
        self.shapes.append(lai.shape)
        self.where.append(where)
        x = np.concatenate([lai[..., None], state.soil_water], axis=-1)
        columns = (slice(None), None) if x.ndim == 3 else (slice(None),)
        new = np.einsum("cij,c...j->c...i", self.transition, x) + self.drift[columns]
        new = np.where(self.defined[columns], new, 0.0)
        biomass = state.biomass.copy()
        biomass[..., 0] *= np.where(lai > 0.0, new[..., 0] / np.where(lai > 0.0, lai, 1.0), 1.0)
        end = State(*(values.copy() for values in state))
        end = end._replace(leaf_area_index=new[..., 0].copy(), soil_water=new[..., 1:].copy(), biomass=biomass)
        if where is not None:
            assert where.shape == lai.shape
            shaped = (where.reshape(where.shape + (1,) * (old.ndim - where.ndim)) for old in state)
            end = State(*(np.where(w, new, old) for w, new, old in zip(shaped, end, state, strict=True)))
        return end, {"LAI": end.leaf_area_index[None].copy(), "WG": end.soil_water[None].copy()}


class Backscatter:
    """A smooth nonlinear operator of WG2, TG2 and LAI (dB), with `usable` open to the tests."""

    predictor_names = ("WG2", "TG2", "LAI")
    predictor_units = ("m3 m-3", "K", "m2 m-2")
    output_name, output_unit = "sigma40", "dB"

    def __init__(self, cell_ids):
        self.cell_ids = np.asarray(cell_ids)
        self.usable = np.ones(self.cell_ids.size, dtype=bool)

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
