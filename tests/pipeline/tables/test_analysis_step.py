"""`ldas analyse`: the filter's analysis step on tables, synthetic and real."""

import json
import sys

import numpy as np
import pytest

import ldas.pipeline.cli
from ldas.assim import FilterConfigurationError, ObservationError, sekf_analysis
from ldas.assim.diagnostics import desroziers
from ldas.landmodel.soil_properties import hydraulic_properties
from ldas.operators import NeuralOptions
from ldas.operators.direct import DirectOperator
from ldas.pipeline.tables.analyse import AnalysisReport, analysis_steps, run_analysis_command
from ldas.pipeline.tables.table import TrainingTable, TrainingTableError
from tests.pipeline.tables.test_training import INTACT_TABLE, table
from tests.support import shared

QUICK = NeuralOptions(epochs=20, block_size=1, minimum_samples=50)
WINDOWS = {"train": "2007-01-01/2008-06-30", "test": "2008-07-01/2008-12-31"}


class Moisture(DirectOperator):
    """sigma = WG2, seen among three predictors: an observation whose analysis can be written by hand."""

    def predict(self, predictors):
        return np.asarray(predictors)[..., 0]

    def jacobian(self, predictors):
        return np.broadcast_to([1.0, 0.0, 0.0], np.shape(predictors))


def steps_of(observed, *, sigma=0.05, used=None):
    """Analyses of WG2 = 0.3 m3 m-3 with an observation of WG2 itself."""
    days = np.datetime64("2015-05-01", "s") + np.arange(len(observed)) * np.timedelta64(86400, "s")
    predictors = np.tile([0.3, 285.0, 2.0], (len(observed), 1))
    states = TrainingTable("states", 43.6, 0.9, days, predictors, np.array(observed), ())
    operator = Moisture([0], predictor_name="WG2", unit="m3 m-3", output_name="sigma40")
    everything = np.ones(len(observed), dtype=bool) if used is None else used
    return analysis_steps(operator, states, everything, 0.32, ObservationError("absolute", sigma))


def test_increments_are_those_of_a_scalar_kalman_filter():
    steps = steps_of([0.35, 0.3, 0.25])
    cofswi = 0.001 * (89.0467 * 32**0.3496 - 37.1342 * 32**0.5)
    b, r = (0.04 * cofswi / 0.1) ** 2, 0.05**2
    d = np.array([0.05, 0.0, -0.05])
    np.testing.assert_allclose(steps.innovation, d, atol=1e-15)
    np.testing.assert_allclose(steps.increment[:, 1], b / (b + r) * d, rtol=1e-12, atol=1e-15)
    assert (steps.increment[:, 0] == 0.0).all()
    assert steps.increment[1, 1] == 0.0
    np.testing.assert_allclose(steps.residual, r / (b + r) * d, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(steps.linear_residual, steps.residual, atol=1e-15)
    np.testing.assert_allclose(steps.chi_square, d**2 / (b + r), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(steps.degrees_of_freedom, b / (b + r), rtol=1e-12)
    assert not steps.limited.any()


def test_limits_and_windows_that_are_not_used():
    steps = steps_of([3.0, 0.3, 0.3], sigma=1e-3, used=np.array([True, False, True]))
    assert steps.days.astype(str).tolist() == ["2015-05-01", "2015-05-03"]
    assert steps.increment[0, 1] == pytest.approx(0.1)  # m3 m-3 in one analysis
    assert steps.limited.tolist() == [[False, True], [False, False]]


def test_figures_on_a_synthetic_table_are_those_of_the_steps(tmp_path):
    temperature = np.full(730, 280.0) + np.arange(730) % 7
    temperature[-4:] = 270.0  # two frozen days
    path = table(tmp_path / "a.nc", TG2=("obs", temperature))
    files = {"json_file": tmp_path / "a.json", "figure_file": tmp_path / "a.png"}
    report = run_analysis_command([path], **WINDOWS, **files, options=QUICK, observation_error=0.5)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    content, (steps,) = json.loads((tmp_path / "a.json").read_text()), report.steps
    assert "identity" in content["statement"]
    assert content["statement"] in report.to_text()
    (cell,) = content["cells"]
    assert cell["masked_frozen"] == 2
    assert cell["windows"] == cell["innovation"]["number"] == sum(s["windows"] for s in cell["jacobian"].values())
    assert cell["jacobian"]["MAM"] == {"windows": 0}
    assert cell["jacobian"]["JJA"]["WG2"]["positive"] > 0.9  # the wetter, the brighter, in the table's formula
    assert cell["residual"]["standard_deviation"] < cell["innovation"]["standard_deviation"]
    assert cell["innovation"]["mean"] == pytest.approx(steps.innovation.mean())
    assert cell["observation_variance"]["prescribed"] == 0.25
    estimate = desroziers(steps.innovation[:, None], steps.linear_residual[:, None])
    assert cell["observation_variance"]["estimated"] == estimate.observation[0]
    assert cell["background_variance"]["estimated"] == estimate.background[0]
    assert cell["chi_square"] == pytest.approx(steps.chi_square.mean())
    assert cell["degrees_of_freedom"] == pytest.approx(steps.degrees_of_freedom.mean())


def test_options_of_the_command_reach_it(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(
        "ldas.pipeline.tables.analyse.run_analysis_command",
        lambda tables, **options: seen.update(tables=tables, **options) or AnalysisReport([], []),
    )
    monkeypatch.setattr(AnalysisReport, "to_text", lambda _: "tables")
    words = "ldas analyse --table a.nc --table b.nc --test 2015 --clay 0.2 --error 0.4 --seed 3 --figure a.png"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as exit_:
        ldas.pipeline.cli.main()
    assert not exit_.value.code
    assert capsys.readouterr().out == "tables\n"
    assert [path.name for path in seen["tables"]] == ["a.nc", "b.nc"]
    assert (seen["train"], seen["test"], seen["clay"], seen["observation_error"]) == ("2007-2013", "2015", 0.2, 0.4)
    assert (seen["options"], seen["figure_file"].name) == (NeuralOptions(seed=3), "a.png")


def test_bad_input(tmp_path):
    path = table(tmp_path / "a.nc")
    with pytest.raises(TrainingTableError, match="is it in percent"):
        run_analysis_command([path], **WINDOWS, clay=32.0, options=QUICK)
    with pytest.raises(FilterConfigurationError, match="positive"):
        run_analysis_command([path], **WINDOWS, observation_error=-0.33, options=QUICK)
    with pytest.raises(
        TrainingTableError, match=r"a\.nc cannot be analysed: no observation over thawed soil from 2012"
    ):
        run_analysis_command([path], train=WINDOWS["train"], test="2012", options=QUICK)
    leafy = table(tmp_path / "leafy.nc", cell=2, LAI_ISBA=("obs", np.full(730, 25.0)))
    with pytest.raises(TrainingTableError, match=r"leafy\.nc cannot be analysed: .* is 25 to 25"):
        run_analysis_command([path, leafy], **WINDOWS, options=QUICK)


def test_real_innovations_of_the_intact_cell():
    """Wetter soil is brighter in every season, most in winter; the analysis takes most of the innovation away."""
    report = run_analysis_command([shared(INTACT_TABLE)], options=NeuralOptions(block_size=2))
    (cell,) = report.cells
    assert (cell["windows"], cell["masked_frozen"]) == (1079, 11)
    assert 0.4 < cell["innovation"]["standard_deviation"] < 0.7
    assert all(found["WG2"]["mean"] > 0.0 for found in cell["jacobian"].values())
    assert cell["jacobian"]["DJF"]["WG2"]["mean"] > cell["jacobian"]["JJA"]["WG2"]["mean"]
    assert cell["residual"]["standard_deviation"] < 0.5 * cell["innovation"]["standard_deviation"]
    assert 0.05 < cell["observation_variance"]["estimated"] < 0.2
    assert not any("warning" in note for note in cell["notes"])


def test_the_clay_of_the_intact_cell():
    """SWI = (WG - wilting point) / (capacity - wilting point): the intercept is the wilting point, CH78 its clay."""
    import xarray as xr

    with xr.open_dataset(shared(INTACT_TABLE)) as data:
        _, wilting = np.polyfit(data["SWI2_ISBA"].values.astype(float), data["WG2"].values.astype(float), 1)
    assert float(hydraulic_properties(np.array(0.32), np.array(0.0), "CH78")["wilting_point"]) == pytest.approx(
        wilting, abs=0.01
    )
    assert float(sekf_analysis.dynamic_range(np.array(0.32))) == pytest.approx(0.0890, abs=1e-4)
