"""What an assimilation stores of each window: analyses, forecasts, increments, and what came of the observations."""

from collections.abc import Collection, Mapping

import numpy as np

from ldas import landmodel
from ldas.assim import QUALITY_MEANING, CycleResult, Filter, Quality, WindowObservations
from ldas.assim.controls import read_variable
from ldas.assim.error_estimation import Bounded, Estimates
from ldas.landmodel import Parameters
from ldas.pipeline import registry
from ldas.pipeline.settings.assimilation import SCREEN_OBSERVATIONS, AssimilatedConfig, AssimilationConfig
from ldas.pipeline.settings.experiment import OutputConfig
from ldas.pipeline.stages import labels
from ldas.pipeline.store import cf
from ldas.pipeline.store.template import ArraySpec

_FLAGS = {
    "flag_values": [int(code) for code in QUALITY_MEANING],
    "flag_meanings": " ".join(code.name.lower() for code in QUALITY_MEANING),
}

_BOUNDED = {
    "flag_masks": [int(flag) for flag in Bounded],
    "flag_meanings": " ".join(f"{flag.name}_at_bound".lower() for flag in Bounded),
}


def forecasts(settings: AssimilationConfig, output: OutputConfig) -> tuple[str, ...]:
    """Stored states that the analysis changes: their forecasts are stored too."""
    changed = {*settings.method.controls, *(["SNOW_DEPTH"] if "SWE" in settings.method.controls else [])}
    return tuple(name for name in output.instant if name in changed)


def _predicted(entry: AssimilatedConfig) -> bool:
    """Whether the prediction is stored: that of an operator, or of the air at 2 m at the hour of its observation."""
    return entry.operator is not None or entry.name in SCREEN_OBSERVATIONS


def output_specs(
    settings: AssimilationConfig, output: OutputConfig, hour: int, apart: Collection[str]
) -> dict[str, ArraySpec]:
    """The arrays of an assimilation.

    Args:
        settings: of the assimilation.
        output: what runs store.
        hour: analysis hour (UTC).
        apart: observations whose overpasses are compared one by one.
    """
    at_end = f"at {labels.clock(hour)}"

    def of(comment: str, *more: str) -> ArraySpec:
        words = {"comment": comment} if comment else {}
        return ArraySpec(("time", "cell", *more), "float32", None, {**words, **labels.OF_INSTANTS})

    def at_overpass(spec: ArraySpec, comment: str = "") -> ArraySpec:
        words = {"comment": comment} if comment else {}
        attributes = {**spec.attributes, **words, **labels.OF_MEANS}
        return ArraySpec(("time", "overpass", "cell"), spec.dtype, spec.fill_value, attributes)

    mean = {"comment": "mean over the 24 h up to the analysis hour of the day, see time_bnds", **labels.OF_MEANS}
    specs = {name: ArraySpec(("time", "cell"), "float32", None, mean) for name in output.mean}
    specs |= {name: of(f"analysis {at_end}") for name in output.instant}
    for name in forecasts(settings, output):
        specs[f"{name}_forecast"] = of(f"24 h forecast {at_end}")
    for entry in settings.observations:
        made = {}
        if _predicted(entry):
            made[entry.name] = of(f"of the analysis {at_end}")
            made[f"{entry.name}_forecast"] = of(f"forecast {at_end}")
        for family in ("innovation", "residual", "linear_residual", "dfs"):
            made[f"{family}_{entry.name}"] = of("")
        made[f"quality_{entry.name}"] = ArraySpec(("time", "cell"), "int8", 1, {**_FLAGS, **labels.OF_INSTANTS})
        if entry.name in apart:
            made = {name: at_overpass(spec) for name, spec in made.items()}
            made[entry.name] = at_overpass(made[entry.name], "forecast at the overpass and what the analysis adds")
            made[f"{entry.name}_forecast"] = at_overpass(made[entry.name], "forecast at the overpass")
            made[f"overpass_hour_{entry.name}"] = ArraySpec(
                ("time", "overpass", "cell"), "float32", None, {**cf.OVERPASS_HOUR, **labels.OF_MEANS}
            )
        specs |= made
        if settings.bias is not None:
            specs[f"bias_{entry.name}"] = of("as estimated before the window and taken from its observations")
        if settings.adaptive_errors is not None:
            specs[f"r_scale_{entry.name}"] = of("of the error variance that is prescribed; as used in the window")
        if settings.estimates_errors:
            specs[f"bounded_{entry.name}"] = ArraySpec(("time", "cell"), "int8", 0, {**_BOUNDED, **labels.OF_INSTANTS})
    if settings.adaptive_errors is not None:
        specs["b_scale"] = of("of the background error variance that is prescribed; as used in the window")
    specs["chi_square"] = of("")
    specs |= {f"increment_{control}": of("") for control in settings.method.controls}
    return specs | {f"{name}_patch": of(f"analysis {at_end}", "patch") for name in output.per_patch}


def rows_of_types(given: Mapping[str, WindowObservations]) -> dict[str, slice]:
    """Where the observations of each type lie on the observation axis of a cycle's result."""
    rows, begin = {}, 0
    for name, observations in given.items():
        rows[name] = slice(begin, begin + observations.rows)
        begin += observations.rows
    return rows


class AssimilationOutput:
    """Collects what the cycles of a period leave in the store."""

    def __init__(
        self,
        settings: AssimilationConfig,
        output: OutputConfig,
        parameters: Parameters,
        *,
        cells: int,
        days: np.ndarray,
        patches: int,
        overpasses: int = 0,
    ) -> None:
        self.observations, self.controls, self.output = settings.observations, settings.method.controls, output
        self.bias, self.scales = settings.bias is not None, settings.adaptive_errors is not None
        self.parameters, self.cells, self.patches = parameters, cells, patches
        self.windows, self.days, self.overpasses = len(days), days, overpasses
        self.arrays: dict[str, np.ndarray] = {}
        self.sources = output_sources(output)
        self.forecasts = forecasts(settings, output)

    def add(
        self,
        number: int,
        result: CycleResult,
        method: Filter,
        rows: Mapping[str, tuple[slice, np.ndarray | None]],
        estimates: Estimates | None = None,
    ) -> None:
        """The values of one window.

        Args:
            number: of the window in the period.
            result: of its cycle.
            method: the filter.
            rows: by type, where it lies on the observation axis, with the times (cell, overpass) of its overpasses;
                None for a type that is compared at the window's end.
            estimates: of bias and errors that it was analysed with, if there are.
        """
        columns = {name: of_window(result.outputs, self.sources[name]) for name in self.output.mean}
        for name in self.output.instant:
            forecast = of_window(result.outputs, self.sources[name])
            columns[name] = self._analysed(name, forecast, result)
            if name in self.forecasts:
                columns[f"{name}_forecast"] = forecast
            if name in self.output.per_patch:
                self._patches(number, f"{name}_patch", columns[name], result.set_aside)
        for index, control in enumerate(method.control_names):
            columns[f"increment_{control}"] = result.increment[:, index]
        self._means(number, columns, result.set_aside)
        for entry in self.observations:
            row, times = rows[entry.name]
            compared = {
                f"innovation_{entry.name}": result.innovation,
                f"residual_{entry.name}": result.residual,
                f"linear_residual_{entry.name}": result.linear_residual,
                f"dfs_{entry.name}": result.degrees_of_freedom,
            }
            if _predicted(entry):
                compared |= {entry.name: result.predicted_analysis, f"{entry.name}_forecast": result.predicted}
            put = self._cells if times is None else self._at_overpasses
            lost = result.set_aside if times is None else result.set_aside | np.isnat(times.T)
            for name, values in compared.items():  # parts of a state that is lost may still look like numbers
                put(number, name, np.where(lost, np.nan, values[:, row].T))
            put(number, f"quality_{entry.name}", result.quality[:, row].T)
            if times is not None:
                hours = (times.T - self.days[number]).astype("timedelta64[s]").astype(np.float64) / 3600.0
                put(number, f"overpass_hour_{entry.name}", np.where(np.isnat(times.T), np.nan, hours))
        if estimates is not None:
            self._estimates(number, estimates, result.set_aside)
        self._cells(number, "chi_square", np.where(result.used_count > 0, result.chi_square, np.nan))

    def _estimates(self, number: int, estimates: Estimates, lost: np.ndarray) -> None:
        for place, entry in enumerate(self.observations):
            if self.bias:
                self._cells(number, f"bias_{entry.name}", np.where(lost, np.nan, estimates.bias[:, place]))
            if self.scales:
                scale = estimates.r_scale[:, place]
                self._cells(number, f"r_scale_{entry.name}", np.where(lost, np.nan, scale))
            self._cells(number, f"bounded_{entry.name}", np.where(lost, np.int8(0), estimates.bounded[:, place]))
        if self.scales:
            self._cells(number, "b_scale", np.where(lost, np.nan, estimates.b_scale))

    def values(self) -> dict[str, np.ndarray]:
        """All arrays (window, cell[, patch])."""
        return self.arrays

    def _analysed(self, name: str, forecast: np.ndarray, result: CycleResult) -> np.ndarray:
        """The analysis of a stored state; what no filter changes is the forecast."""
        if name not in self.forecasts:
            return forecast
        analysed = read_variable(result.analysis, name)
        return np.where(np.isfinite(forecast), analysed, np.nan)

    def _means(self, number: int, columns: Mapping[str, np.ndarray], lost: np.ndarray) -> None:
        """Cell means of values by column, all variables at once."""
        means = landmodel.aggregate(np.stack(list(columns.values())), self.parameters, self.cells)
        means[:, lost] = np.nan
        for name, mean in zip(columns, means, strict=True):
            self._cells(number, name, mean)

    def _cells(self, number: int, name: str, values: np.ndarray) -> None:
        if name not in self.arrays:
            self.arrays[name] = np.zeros((self.windows, self.cells), dtype=values.dtype)
        self.arrays[name][number] = values

    def _at_overpasses(self, number: int, name: str, values: np.ndarray) -> None:
        """Values (overpass, cell) of the overpasses that the window has; the places behind them stay empty."""
        if name not in self.arrays:
            empty = np.nan if values.dtype.kind == "f" else int(Quality.MISSING)
            self.arrays[name] = np.full((self.windows, self.overpasses, self.cells), empty, dtype=values.dtype)
        self.arrays[name][number, : len(values)] = values

    def _patches(self, number: int, name: str, values: np.ndarray, lost: np.ndarray) -> None:
        if name not in self.arrays:
            self.arrays[name] = np.full((self.windows, self.cells, self.patches), np.nan)
        self.arrays[name][number, self.parameters.cell, self.parameters.patch - 1] = values
        self.arrays[name][number, lost] = np.nan


def output_sources(output: OutputConfig) -> dict[str, tuple[str, int | None]]:
    """Where the land model puts each stored variable: name of its output (with `_end` where the mean of the same
    variable is asked for too), and layer."""
    of_mean = {registry.base_name(name) for name in output.mean}
    sources = {name: (registry.base_name(name), registry.variable(name).layer) for name in output.mean}
    for name in output.instant:
        base = registry.base_name(name)
        sources[name] = (f"{base}_end" if base in of_mean else base, registry.variable(name).layer)
    return sources


def of_window(outputs: Mapping[str, np.ndarray], source: tuple[str, int | None]) -> np.ndarray:
    """Values by column of a stored variable at the window's end, or its mean over the window, from where the land model
    puts it."""
    key, layer = source
    values = outputs[key][0]
    return values if layer is None else values[:, layer - 1]
