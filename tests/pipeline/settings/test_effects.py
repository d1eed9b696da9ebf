"""No accepted key without effect: another value of each key of the experiment file shows in what is built from it.
`TABLE` has an entry for every key; others are in test_execution_effects.py, test_twin_effects.py and
test_error_effects.py."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import zarr

from ldas import landmodel
from ldas.assim import testing as small_model
from ldas.landmodel import Forcing, OutputRequest, State
from ldas.landmodel.array_types import Array
from ldas.pipeline.execution.stage import Stage, prepare, run_task
from ldas.pipeline.plan import build_stages
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.metadata import MetadataConfig
from ldas.pipeline.stages.assimilate import Assimilate
from ldas.pipeline.stages.land import accepted_checks
from ldas.pipeline.stages.observations import WindowSeries
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.stages.spin_up import SpinUp
from ldas.pipeline.stages.train import Train
from ldas.pipeline.store.arrays import array_hashes, open_store
from ldas.pipeline.store.ledger import Block, blocks_of
from tests.assim.cycles import lai_type, sigma_type, ssm_type, three_cells
from tests.helpers.synthetic_store import experiment, make_store
from tests.pipeline.settings.test_every_key import every_key
from tests.support import REPOSITORY

Kind = TypeVar("Kind", bound=Stage)
WHOLE = Block(0, 0, 2)
PERIOD = {"start": "2007-04-01", "end": "2007-05-10"}
SPRING = {"start": "2007-04-01", "end": "2007-04-20"}
WATER = {"name": "water", "kind": "water_cloud", "training": SPRING, "water_cloud": {"minimum_samples": 5}}
RUN = {"name": "ekf", "observations": [{"name": "swi"}]}
SIGMA = {"name": "sigma40", "operator": "water"}


@dataclass(frozen=True)
class Changed:
    """Another value of a key, what shows it, and the sections beside it, the other value left out."""

    value: Any
    shows: Callable[[ExperimentConfig], Any]
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere:
    """A key whose effect a test of whole runs shows: its file and name."""

    file: str
    test: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Land, weather, observations, an open loop and a calibrated operator of two cells."""
    path = tmp_path_factory.mktemp("effects") / "store"
    make_store(path, cells=2, days=40)
    config = experiment(path, period=PERIOD, operators=[WATER])
    run_whole(stage_of(config, OpenLoop))
    run_whole(stage_of(config, Train))
    return path


def run_whole(stage: Stage) -> None:
    prepare(stage)
    for block in blocks_of(stage.cells, stage.cells_per_block):
        for period in stage.periods():
            run_task(stage, block, period)


def stage_of(config: ExperimentConfig, kind: type[Kind]) -> Kind:
    return [stage for stage in build_stages(config) if isinstance(stage, kind)][-1]


def root_of(config: ExperimentConfig) -> zarr.Group:
    return open_store(config.location, "a")


# --- what shows a key ----------------------------------------------------------------------------------------------


def plan(config: ExperimentConfig) -> Any:
    """Names, needs, blocks and periods of all stages."""
    return [
        (stage.name, sorted(stage.needs or ()), sorted(stage.follows), stage.cells_per_block,
         [astuple(period) for period in stage.periods()])
        for stage in build_stages(config)
    ]  # fmt: skip


def attributes(config: ExperimentConfig) -> Any:
    """What the groups of a run say of it."""
    found = stage_of(config, OpenLoop).group_attributes(root_of(config))
    return {name: found.get(name) for name in ("experiment", "synthetic")}


def location(config: ExperimentConfig) -> Any:
    return config.location.url, config.location.options


def accepted(config: ExperimentConfig) -> Any:
    return accepted_checks(root_of(config), config)


def model_run(config: ExperimentConfig) -> Any:
    """Four days of the land model into snow and frost, with drizzle in one cell and a downpour in the other."""
    stage, root = stage_of(config, OpenLoop), root_of(config)
    start, stop = np.datetime64("2007-04-08", "s"), np.datetime64("2007-04-12", "s")
    parameters = stage.parameters(root, WHOLE)
    forcing = stage.forcing(root, WHOLE, start, stop, parameters)
    rain = forcing.forcing._replace(Rainf=np.asarray(forcing.forcing.Rainf) * [0.1, 300.0])
    state = landmodel.cold_start(parameters, air_temperature=285.0)
    request = OutputRequest(mean=("RUNOFF", "GPP", "RECO"))
    return stage.run_model(parameters, state, forcing._replace(forcing=rain), start, stop, request)


def open_loop(config: ExperimentConfig) -> Any:
    """Arrays and restarts of an open loop, run into the store and removed again."""
    stage, root = stage_of(config, OpenLoop), root_of(config)
    groups = [f"{folder}/{stage.name}" for folder in ("runs", "restarts", "ledger")]
    run_whole(stage)
    found = {name.replace(stage.name, ""): value for group in groups[:2] for name, value in
             array_hashes(root, group).items()}  # fmt: skip
    for group in groups:
        del root[group]
    return found


def repeated_year(config: ExperimentConfig) -> Any:
    return stage_of(config, SpinUp).periods()


def settled(config: ExperimentConfig) -> Any:
    """Which of four cells stop: soil water or biomass or both changed little."""
    after = np.array([1.0, 1.0, 9.0, 9.0]), np.array([0.1, 0.9, 0.1, 0.9])
    return stage_of(config, SpinUp)._settled((np.zeros(4), np.zeros(4)), after)


def samples(config: ExperimentConfig) -> Any:
    """Training pairs, and the names of the predictors."""
    stage = stage_of(config, Train)
    return stage.settings.predictor_names, stage.samples(root_of(config), WHOLE, stage.settings.training)


def samples_of_test(config: ExperimentConfig) -> Any:
    """Pairs of the window that is only scored."""
    stage = stage_of(config, Train)
    assert stage.settings.test is not None
    return stage.samples(root_of(config), WHOLE, stage.settings.test)


def untrained(config: ExperimentConfig) -> Any:
    """The operator that is to be trained: its class and options."""
    made = config.operators[0].untrained()
    return type(made).__name__, getattr(made, "options", None)


def calibrated(config: ExperimentConfig) -> Any:
    """The water cloud model, calibrated."""
    stage = stage_of(config, Train)
    pairs = stage.samples(root_of(config), WHOLE, stage.settings.training)
    return stage.settings.untrained().fit(*pairs, cell_ids=np.arange(2)).to_arrays()


def observation_type(config: ExperimentConfig) -> Any:
    """What the filter gets of the first observation type."""
    kind = stage_of(config, Assimilate).filter_of(root_of(config), WHOLE).observation_types[0]  # type: ignore[attr-defined]
    return {name: value for name, value in vars(kind).items() if name != "operator"}, type(kind.operator).__name__


def windows(config: ExperimentConfig) -> Any:
    """Observed values of all windows, for the filter."""
    stage = stage_of(config, Assimilate)
    entry = stage.settings.observations[0]
    return WindowSeries(root_of(config), entry, WHOLE, stage.ends(), stage.hour, config.open_loop.name).value


class Weathered(small_model.LinearModel):
    """The small model whose soil moisture also follows rain and radiation, so that noise on them shows."""

    def run(self, state: State, forcing: Forcing, **options: Any) -> tuple[State, dict[str, Array]]:
        """See `LinearModel.run`."""
        end, outputs = super().run(state, forcing, **options)
        weather = (forcing.Rainf, np.asarray(forcing.SWdown) * 1e-6, forcing.LWdown * np.float64(1e-6))
        felt = sum(np.mean(values, axis=0) for values in weather)[self.parameters.cell]
        water = end.soil_water + (end.soil_water > 0.0) * felt.reshape(-1, *[1] * (end.soil_water.ndim - 1))
        return end._replace(soil_water=water), {**outputs, "WG": water[None].copy()}


def cycle(config: ExperimentConfig) -> Any:
    """A cycle of the filter: cell 0 has ice in one of its columns, cell 1 a little snow."""
    parameters, state, forcing = three_cells()
    ice, snow = state.soil_ice.copy(), state.snow_water_equivalent.copy()
    ice[0, :3], snow[3:5, 0] = 0.05, 0.5
    method = config.assimilation[0].method
    made = method.make([sigma_type(), lai_type(), ssm_type()], [0, 1, 2])
    first = made.initial_state(parameters, state._replace(soil_ice=ice, snow_water_equivalent=snow))
    given = small_model.observed(sigma40=[-11.0, -9.5, -10.0], lai=[2.0, 3.0, 1.4], ssm=[0.25, 0.31, 0.2])
    result = made.cycle(Weathered(parameters), first, small_model.Window.cut(forcing, small_model.START), given)
    return result.increment, result.quality, result.state


# --- the table -----------------------------------------------------------------------------------------------------

OTHERS = ("twin.", "globe.", "execution.", "assimilation.bias.", "assimilation.adaptive_errors.")
SHORT = {"period": {"start": "2007-04-01", "end": "2007-04-01"}, "open_loop": {"name": "short"},
         "output": {"mean": ["LE"], "instant": ["WG2"]}}  # fmt: skip


def model(value: Any, **others: Any) -> Changed:
    return Changed(value, model_run, {"model": others})


def short(value: Any, **sections: Any) -> Changed:
    return Changed(value, open_loop, {**SHORT, **sections})


def of_run(value: Any, shows: Callable[[ExperimentConfig], Any] = plan, **others: Any) -> Changed:
    return Changed(value, shows, {"assimilation": [{**RUN, **others}]})


def observed(value: Any, shows: Callable[[ExperimentConfig], Any] = observation_type, **others: Any) -> Changed:
    run = {**RUN, "observations": [{"name": "swi", **others}]}
    return Changed(value, shows, {"period": PERIOD, "assimilation": [run]})


def operator(value: Any, shows: Callable[[ExperimentConfig], Any] = plan, **others: Any) -> Changed:
    return Changed(value, shows, {"operators": [{**WATER, **others}]})


def direct(value: Any, shows: Callable[[ExperimentConfig], Any]) -> Changed:
    return Changed(value, shows, {"operators": [{"kind": "direct", "observation": "lai", "training": SPRING}]})


def neural(value: Any, **others: Any) -> Changed:
    return Changed(value, untrained, {"operators": [{"name": "n", "training": SPRING, "neural": others}]})


def pooled(value: Any, **others: Any) -> Changed:
    one = {"name": "p", "kind": "pooled", "training": SPRING, "pooled": others}
    return Changed(value, untrained, {"operators": [one]})


def water(value: Any) -> Changed:
    return operator(value, calibrated)


def forecasts(value: Any, **chosen: Any) -> Changed:
    ahead = {"name": "ahead", "from_run": "ekf", "days": 4, **(chosen or {"every": 2})}
    return Changed(value, plan, {"assimilation": [RUN, {**RUN, "name": "other"}], "forecasts": [ahead]})


def sekf(value: Any, **others: Any) -> Changed:
    return of_run(value, cycle, sekf=others)


def ensrf(value: Any, **others: Any) -> Changed:
    return of_run(value, cycle, filter="ensrf", ensrf={"members": 4, **others})


STEPS = Elsewhere("stages/test_extension.py", "test_bit_identical_after_new_days_of_forcing_and_observations")
EXTENDED = Elsewhere("../test_extending.py", "test_a_run_trains_and_assimilates_with_them")
TABLE: dict[str, Changed | Elsewhere] = {
    "name": Changed("other", attributes),
    "description": Elsewhere("report/test_page.py", "test_it_says_that_the_data_are_synthetic"),
    "synthetic": Changed(True, attributes),
    "store.url": Changed("other", location),
    "store.options": Changed({"auto_mkdir": True}, location),
    "ingest.source": STEPS,
    "ingest.config": STEPS,
    "ingest.makes": STEPS,
    "ingest.revise": STEPS,
    "accept": Changed(["night_shortwave"], accepted),
    "period.start": Changed("2007-04-02", plan, {"period": PERIOD}),
    "period.end": Changed("2007-04-20", plan, {"period": PERIOD}),
    "model.pedotransfer": model("CO84"),
    "model.light_scheme": model("carrer"),
    "model.runoff": model("DT92"),
    "model.horton": model(True),
    "model.drip": model("SGH"),
    "model.snow_layers": model(3),
    "model.soil_respiration": model("PRM"),
    "model.conserve_heat": model(True),
    "model.energy_substep_s": model(900.0),
    "model.time_step_s": model(900),
    "model.air_height_m": model(10.0),
    "model.wind_height_m": model(20.0),
    "model.cell_size_km": model(10.0, drip="SGH"),
    "model.minimum_fraction": model(0.25),
    "model.vegetation_of_patch": model({4: "TEBE"}),
    "model.overrides": model({"GMES": 0.002}),
    "model.initial_temperature_k": short(280.0),
    "model.analysis_hour_utc": short(12),
    "spin_up.year": Changed(2008, repeated_year, {"spin_up": {"year": 2007}}),
    "spin_up.repetitions": Elsewhere(
        "stages/test_spin_up_year.py", "test_a_start_on_29_february_is_spun_up_with_that_year"
    ),
    "spin_up.soil_water_drift_kg_m2": Changed(
        10.0, settled, {"spin_up": {"year": 2007, "soil_water_drift_kg_m2": 5.0}}
    ),
    "spin_up.biomass_drift_kg_m2": Changed(1.0, settled, {"spin_up": {"year": 2007, "biomass_drift_kg_m2": 0.5}}),
    "output.mean": short(["GPP"]),
    "output.instant": short(["LAI"]),
    "output.per_patch": short(["WG2"]),
    "open_loop.name": Changed("free", plan),
    "open_loop.restart_on": short(["2007-04-01"]),
    "operators.name": operator("other"),
    "operators.kind": direct("neural", untrained),
    "operators.observation": Changed("swi", samples, {"operators": [{"training": SPRING}]}),
    "operators.predictors": operator(["WG3", "LAI"], samples),
    "operators.lai": operator(None, samples),
    "operators.time_matching": Elsewhere(
        "stages/test_time_matching.py", "test_a_forecast_is_of_the_hour_of_its_overpass"
    ),
    "operators.training.start": operator("2007-04-05", samples),
    "operators.training.end": operator("2007-04-15", samples),
    "operators.test.start": operator("2007-04-05", samples_of_test, test=SPRING),
    "operators.test.end": operator("2007-04-15", samples_of_test, test=SPRING),
    "operators.neural.hidden": neural([8]),
    "operators.neural.learning_rate": neural(0.01),
    "operators.neural.epochs": neural(3),
    "operators.neural.batch_size": neural(16),
    "operators.neural.seed": neural(1),
    "operators.neural.validation_fraction": neural(0.3),
    "operators.neural.early_stopping_patience": neural(5),
    "operators.neural.minimum_samples": neural(7),
    "operators.neural.block_size": neural(8),
    "operators.neural.precision": neural("float64"),
    "operators.pooled.hidden": pooled([8]),
    "operators.pooled.learning_rate": pooled(0.01, policy="auto"),
    "operators.pooled.epochs": pooled(3, policy="auto"),
    "operators.pooled.batch_size": pooled(16, policy="auto"),
    "operators.pooled.seed": pooled(1),
    "operators.pooled.validation_fraction": pooled(0.3),
    "operators.pooled.early_stopping_patience": pooled(5, policy="auto"),
    "operators.pooled.minimum_samples": pooled(7),
    "operators.pooled.block_size": pooled(8),
    "operators.pooled.precision": pooled("float64"),
    "operators.pooled.policy": pooled("auto"),
    "operators.pooled.static": pooled(["clay"]),
    "operators.pooled.correction": pooled("linear"),
    "operators.pooled.pool_samples": pooled(1000),
    "operators.pooled.pool_epochs": pooled(3),
    "operators.pooled.pool_batch_size": pooled(16),
    "operators.pooled.pool_learning_rate": pooled(0.01),
    "operators.water_cloud.vegetation_scattering": water([0.3, 0.4]),
    "operators.water_cloud.vegetation_attenuation": water([0.3, 0.4]),
    "operators.water_cloud.dry_soil_backscatter": water([-20.0, -18.0]),
    "operators.water_cloud.soil_moisture_sensitivity": water([20.0, 30.0]),
    "operators.water_cloud.incidence_angle": water(20.0),
    "operators.water_cloud.minimum_samples": water(1000),
    "operators.options": EXTENDED,
    "operators.search_architectures": Elsewhere(
        "stages/test_train_stage.py", "test_compared_architectures_are_stored_once_more_after_a_kill"
    ),
    "assimilation.name": of_run("other"),
    "assimilation.start": of_run("2007-04-05"),
    "assimilation.end": of_run("2007-04-10"),
    "assimilation.observations.name": observed("lai"),
    "assimilation.observations.operator": of_run("water", observations=[{"name": "lai"}]),
    "assimilation.observations.error.kind": observed("relative", error={"kind": "absolute", "size": 0.1}),
    "assimilation.observations.error.size": observed(0.2, error={"kind": "absolute", "size": 0.1}),
    "assimilation.observations.error.from_run": Elsewhere(
        "stages/assimilate/test_assimilation_settings.py", "test_stored_diagnostics_and_an_error_estimated_from_them"
    ),
    "assimilation.observations.valid_range": observed([0.1, 0.2]),
    "assimilation.observations.innovation_limit": observed(0.1),
    "assimilation.observations.rescale": observed("cdf", windows),
    "assimilation.observations.rescale_months": observed(1, windows, rescale="linear"),
    "assimilation.observations.rescale_period.start": observed(
        "2007-04-05", windows, rescale="linear", rescale_period=SPRING
    ),
    "assimilation.observations.rescale_period.end": observed(
        "2007-04-15", windows, rescale="linear", rescale_period=SPRING
    ),
    "assimilation.observations.assimilate": observed(False),
    "assimilation.observations.reject_frozen": observed(False),
    "assimilation.observations.reject_snow": observed(False),
    "assimilation.filter": of_run("ensrf", cycle),
    "assimilation.sekf.controls": sekf(["LAI", "WG2"]),
    "assimilation.sekf.perturbation": sekf({"WG2": 1e-2}),
    "assimilation.sekf.background": sekf("B"),
    "assimilation.sekf.typical_range": sekf(0.2),
    "assimilation.sekf.soil_moisture_error": sekf({"WG2": 0.1}),
    "assimilation.sekf.lai_error": sekf(0.4),
    "assimilation.sekf.snow_error": Elsewhere("stages/assimilate/test_snow_and_air.py", "test_snow_and_air_in_a_run"),
    "assimilation.sekf.leaf_biomass": sekf("legacy"),
    "assimilation.sekf.frozen_rule": sekf("any_patch"),
    "assimilation.sekf.snow_threshold": sekf(1.0),
    "assimilation.ensrf.members": ensrf(5),
    "assimilation.ensrf.seed": ensrf(1),
    "assimilation.ensrf.controls": ensrf(["LAI", "WG2"]),
    "assimilation.ensrf.surface_noise": ensrf(0.2),
    "assimilation.ensrf.deep_noise": ensrf(0.2),
    "assimilation.ensrf.lai_noise": ensrf(0.2),
    "assimilation.ensrf.control_memory_days": ensrf(1.0),
    "assimilation.ensrf.initial_surface": ensrf(0.3),
    "assimilation.ensrf.initial_deep": ensrf(0.3),
    "assimilation.ensrf.initial_lai": ensrf(0.3),
    "assimilation.ensrf.precipitation_noise": ensrf(0.2),
    "assimilation.ensrf.shortwave_noise": ensrf(0.2),
    "assimilation.ensrf.longwave_noise": ensrf(10.0),
    "assimilation.ensrf.forcing_memory_days": ensrf(3.0),
    "assimilation.ensrf.leaf_biomass": ensrf("legacy"),
    "assimilation.ensrf.frozen_rule": ensrf("any_patch"),
    "assimilation.ensrf.snow_threshold": ensrf(1.0),
    "assimilation.options": EXTENDED,
    **{f"assimilation.error_correlations.{key}": Elsewhere("stages/test_joint_operator.py",
       "test_a_run_has_the_correlations_that_are_given") for key in ("between", "size")},
    "assimilation.leave_one_out": of_run(True, observations=[{"name": "swi"}, {"name": "lai"}]),
    **{f"forecasts.{key}": forecasts(value) for key, value in
       {"name": "later", "from_run": "other", "days": 5, "every": 3}.items()},
    "forecasts.start_on": forecasts(["2007-04-05"], start_on=["2007-04-04"]),
    "forecasts.forcing": Elsewhere("stages/assimilate/test_forecast.py", "test_a_forcing_of_their_own"),
    **{f"metadata.{key}": Elsewhere("export/test_export.py", "test_what_a_file_says_of_itself")
       for key in MetadataConfig.model_fields},
    "report": STEPS,
    "cycle.look_back_days": Elsewhere("commands/test_cycle.py", "test_days_before_the_look_back_are_not_compared"),
}  # fmt: skip


def test_every_key_has_an_entry() -> None:
    assert set(TABLE) == {key for key in every_key() if not key.startswith(OTHERS)}


def test_effects_shown_elsewhere_are_shown_there() -> None:
    shown_elsewhere(TABLE)


def shown_elsewhere(table: Mapping[str, Any]) -> None:
    """Asserts that the tests that a table names are there."""
    for entry in table.values():
        if isinstance(entry, Elsewhere):
            text = (REPOSITORY / "tests" / "pipeline" / entry.file).read_text(encoding="utf-8")
            assert f"def {entry.test}(" in text, entry


def with_value(sections: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The sections with a key at another value: that of the first entry of a list, of all entries by patch."""
    first, _, rest = key.partition(".")
    if not rest:
        return {**sections, first: value}
    inner = sections.get(first, {})
    if isinstance(inner, list | tuple):
        return {**sections, first: [with_value(inner[0], rest, value), *inner[1:]]}
    if inner and all(str(name).isdigit() for name in inner):  # by number of the patch
        return {**sections, first: {name: with_value(entry, rest, value) for name, entry in inner.items()}}
    return {**sections, first: with_value(inner, rest, value)}


@pytest.fixture(scope="module")
def before(store: Path) -> Callable[[Changed], bytes]:
    """What shows without the other values; computed twice, for what differs by itself could show nothing."""
    kept: dict[str, bytes] = {}

    def of(entry: Changed) -> bytes:
        case = f"{entry.shows.__name__} {entry.beside}"
        if case not in kept:
            kept[case], again = (shown(store, entry.shows, entry.beside) for _ in range(2))
            assert kept[case] == again
        return kept[case]

    return of


def shown(store: Path, shows: Callable[[ExperimentConfig], Any], sections: Mapping[str, Any]) -> bytes:
    return pickle.dumps(shows(experiment(store, **{"store": {"url": str(store)}, **sections})))


@pytest.mark.parametrize("key", [key for key, entry in TABLE.items() if isinstance(entry, Changed)])
def test_another_value_shows(store: Path, before: Callable[[Changed], bytes], key: str) -> None:
    entry = TABLE[key]
    assert isinstance(entry, Changed)
    sections = with_value({"store": {"url": str(store)}, **entry.beside}, key, entry.value)
    assert shown(store, entry.shows, sections) != before(entry)
