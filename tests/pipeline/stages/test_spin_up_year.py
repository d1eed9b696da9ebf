"""The year that a spin-up repeats, also where the experiment begins on 29 February."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from ldas import landmodel
from ldas.landmodel import Forcing
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.settings.experiment import ExperimentConfig, ModelConfig, SpinUpConfig
from ldas.pipeline.stages.land import land_of
from ldas.pipeline.store.arrays import open_store, read_region
from ldas.pipeline.store.groups import write_group
from ldas.pipeline.store.ledger import Block
from tests.helpers.runs import run_stages
from tests.helpers.small_store import synthetic_land, synthetic_weather


@pytest.mark.parametrize(
    ("start", "year", "first", "after", "days"),
    [
        ((2008, 2, 29), 2008, (2008, 2, 29), (2009, 3, 1), 366),
        ((2008, 2, 29), 2007, (2007, 3, 1), (2008, 2, 29), 365),
        ((2008, 2, 29), 2009, (2009, 3, 1), (2010, 3, 1), 365),
        ((2008, 2, 29), 2011, (2011, 3, 1), (2012, 2, 29), 365),
        ((2008, 2, 28), 2007, (2007, 2, 28), (2008, 2, 28), 365),
        ((2007, 3, 1), 2008, (2008, 3, 1), (2009, 3, 1), 365),
        ((2007, 1, 1), 2008, (2008, 1, 1), (2009, 1, 1), 366),
    ],
)
def test_the_repeated_year(
    start: tuple[int, int, int], year: int, first: tuple[int, int, int], after: tuple[int, int, int], days: int
) -> None:
    begin, end = SpinUpConfig(year=year).span(date(*start))
    assert (begin, end) == (date(*first), date(*after))
    assert (end - begin).days == days


@pytest.mark.parametrize(("year", "days"), [(2008, 366), (2007, 365)])
def test_a_start_on_29_february_is_spun_up_with_that_year(
    year: int, days: int, threads: Client, tmp_path: Path
) -> None:
    first = np.datetime64("2008-02-29" if year == 2008 else "2007-03-01", "s")
    path = tmp_path / "store"
    root, forcing = open_store(str(path), "a"), synthetic_weather(1, 372, first)
    write_group(root, "land", synthetic_land(1))
    write_group(root, "forcing", forcing)
    config = ExperimentConfig.model_validate(
        {
            "name": "leap",
            "store": {"url": str(path)},
            "period": {"start": "2008-02-29", "end": "2008-03-02"},
            "spin_up": {"year": year, "repetitions": 1},
            "output": {"mean": ["LE"], "instant": ["WG2"]},
            "report": False,
        }
    )
    assert {row.state for row in check_experiment(config)} == {"ok"}
    for outcome in run_stages(config, threads):
        assert outcome.complete, outcome.failures

    parameters = land_of(root, Block(0, 0, 1), ModelConfig()).parameters
    records = slice(0, 24 * days + 1)
    arrays = {name: values.values[records].astype(np.float64) for name, values in forcing.data_vars.items()}
    cold = landmodel.cold_start(parameters, air_temperature=float(arrays["Tair"][:, 0].mean()))
    spun_up, _ = landmodel.Isba(parameters).run(cold, Forcing(**arrays), start=first)
    stored = read_region(root, "restarts/spin_up/20080229T00", "soil_water")
    np.testing.assert_array_equal(stored[0, parameters.patch - 1], spun_up.soil_water)
