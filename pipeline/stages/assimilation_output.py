"""What an assimilation stores of each window: analyses, forecasts, increments, and what came of the observations."""

from collections.abc import Mapping

import numpy as np

from ldas import landmodel
from ldas.assim import CycleResult, Filter, Quality
from ldas.assim.controls import read_variable
from ldas.landmodel import Parameters
from ldas.pipeline import registry
from ldas.pipeline.settings.assimilation import AssimilationConfig
from ldas.pipeline.settings.experiment import OutputConfig


def forecasts(settings: AssimilationConfig, output: OutputConfig) -> tuple[str, ...]:
    """Stored states that the analysis changes: their forecasts are stored too."""
    return tuple(name for name in output.instant if name in settings.method.controls)


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
        self.parameters, self.cells, self.patches = parameters, cells, patches
        self.windows, self.days, self.overpasses = len(days), days, overpasses
        self.arrays: dict[str, np.ndarray] = {}
        self.sources = _sources(output)
        self.forecasts = forecasts(settings, output)

    def add(
        self, number: int, result: CycleResult, method: Filter, rows: Mapping[str, tuple[slice, np.ndarray | None]]
    ) -> None:
        """The values of one window. rows: by type, where it lies on the observation axis, with the times (cell,
        overpass) of its overpasses; None for a type that is compared at the window's end."""
        columns = {name: self._output(result.outputs, name) for name in self.output.mean}
        for name in self.output.instant:
            forecast = self._output(result.outputs, name)
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
            if entry.operator is not None:
                compared |= {entry.name: result.predicted_analysis, f"{entry.name}_forecast": result.predicted}
            put = self._cells if times is None else self._at_overpasses
            lost = result.set_aside if times is None else result.set_aside | np.isnat(times.T)
            for name, values in compared.items():  # parts of a state that is lost may still look like numbers
                put(number, name, np.where(lost, np.nan, values[:, row].T))
            put(number, f"quality_{entry.name}", result.quality[:, row].T)
            if times is not None:
                hours = (times.T - self.days[number]).astype("timedelta64[s]").astype(np.float64) / 3600.0
                put(number, f"overpass_hour_{entry.name}", np.where(np.isnat(times.T), np.nan, hours))
        self._cells(number, "chi_square", np.where(result.used_count > 0, result.chi_square, np.nan))

    def values(self) -> dict[str, np.ndarray]:
        """All arrays (window, cell[, patch])."""
        return self.arrays

    def _output(self, outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """Values by column of a stored variable at the window's end, or its mean over the window."""
        key, layer = self.sources[name]
        values = outputs[key][0]
        return values if layer is None else values[:, layer - 1]

    def _analysed(self, name: str, forecast: np.ndarray, result: CycleResult) -> np.ndarray:
        """The analysis of a stored state; what no filter changes is the forecast."""
        if name not in self.controls:
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


def _sources(output: OutputConfig) -> dict[str, tuple[str, int | None]]:
    """Where the land model puts each stored variable: name of its output (with `_end` where the mean of the same
    variable is asked for too), and layer."""
    of_mean = {registry.base_name(name) for name in output.mean}
    sources = {name: (registry.base_name(name), registry.variable(name).layer) for name in output.mean}
    for name in output.instant:
        base = registry.base_name(name)
        sources[name] = (f"{base}_end" if base in of_mean else base, registry.variable(name).layer)
    return sources
