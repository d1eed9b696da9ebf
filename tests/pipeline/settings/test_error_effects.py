"""No key of `bias` and `adaptive_errors` of an assimilation without effect; what cannot be meant is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ldas.assim.error_estimation import Departures, Memory, estimates, no_memory, remembered, with_change
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.stages.open_loop_departures import is_judged
from tests.helpers.synthetic_store import experiment
from tests.pipeline.settings.test_every_key import every_key

SECTIONS = ("assimilation.bias.", "assimilation.adaptive_errors.")
VALUES: dict[str, Any] = {
    "bias.limit": 0.5,
    "bias.memory": 5.0,
    "bias.lasting_threshold": 0.05,
    "bias.passing_threshold": 0.0,
    "bias.carry_over": 0.9,
    "adaptive_errors.memory": 20.0,
    "adaptive_errors.r_bounds": [0.9, 1.1],
    "adaptive_errors.b_bounds": [0.9, 1.1],
    "adaptive_errors.ratio_bounds": [0.5, 2.0],
}


def with_run(path: Path, **sections: Any) -> ExperimentConfig:
    run = {"name": "aware", "observations": [{"name": "swi"}, {"name": "lai"}], "bias": {}, "adaptive_errors": {}}
    return experiment(path, assimilation=[{**run, **sections}])


def learned(config: ExperimentConfig) -> bytes:
    """Estimates after forty biased innovations of two types in three cells."""
    run = config.assimilation[0]
    assert run.bias is not None
    assert run.adaptive_errors is not None
    random, memory = np.random.default_rng(2), no_memory(3, 2)
    one = np.ones((3, 2))
    for _ in range(40):
        now = estimates(memory, run.bias, run.adaptive_errors)
        d = 1.5 + random.standard_normal((3, 2)) - now.bias
        total = now.r_scale + now.b_scale[:, None] + now.bias_variance
        memory = remembered(
            memory,
            Departures(d, 0.3 * d, one, one, total, one > 0.0, now.passing, np.nan * one),
            run.bias,
            run.adaptive_errors,
        )
        memory = with_change(memory, now, now.bias_variance / total * d, run.bias, run.bias.limit * one)
    return np.array([*estimates(memory, run.bias, run.adaptive_errors)[:4], *Memory(*memory)]).tobytes()


def test_every_key_is_here() -> None:
    assert {f"assimilation.{key}" for key in (*VALUES, "bias.judged_by")} == {
        key for key in every_key() if key.startswith(SECTIONS)
    }


@pytest.mark.parametrize("key", VALUES)
def test_another_value_shows(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    assert learned(with_run(tmp_path, **{section: {name: VALUES[key]}})) != learned(with_run(tmp_path))


def test_what_judges_a_bias(tmp_path: Path) -> None:
    """Departures of the open loop: what has an operator, and as long as nothing else is asked for."""
    days = {"start": "2007-04-01", "end": "2007-04-20"}
    operators = [
        {"name": "cloud", "kind": "water_cloud", "training": days},
        {"name": "copy", "kind": "direct", "observation": "ssm", "training": days},
    ]
    seen = [{"name": "lai"}, {"name": "sigma40", "operator": "cloud"}, {"name": "ssm", "operator": "copy"}]
    nothing = [False, False, False]
    for bias, expected in (({}, [False, True, False]), ({"judged_by": "innovations"}, nothing), (None, nothing)):
        config = experiment(
            tmp_path, operators=operators, assimilation=[{"name": "aware", "observations": seen, "bias": bias}]
        )
        run = config.assimilation[0]
        assert [is_judged(None, config, run, entry) for entry in run.observations] == expected
    related = {"error_correlations": [{"between": ["sigma40", "ssm"], "size": 0.3}], "bias": {}}
    with pytest.raises(ValueError, match=r"assimilation aware: error_correlations: not together .* \(here ssm\)"):
        experiment(tmp_path, operators=operators, assimilation=[{"name": "aware", "observations": seen, **related}])


def test_without_them_an_assimilation_is_what_it_was(tmp_path: Path) -> None:
    without = with_run(tmp_path, bias=None, adaptive_errors=None).assimilation[0]
    assert not without.estimates_errors
    assert not {"bias", "adaptive_errors"} & set(without.model_dump(mode="json"))
    assert {"bias", "adaptive_errors"} <= set(with_run(tmp_path).assimilation[0].model_dump(mode="json"))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"bias": {"limit": -1}}, "limit must be positive"),
        ({"bias": {"sigma": 1}}, "sigma"),
        ({"bias": {"memory": "long"}}, "bias.memory"),
        ({"adaptive_errors": {"r_bounds": [2, 3]}}, "r_bounds must be positive, finite and enclose 1, got 2.0 and 3.0"),
        ({"adaptive_errors": {"memory": 1}}, "memory must be at least 10 observations, got 1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigurationError, ValueError), match=re.escape(said)):
        with_run(tmp_path, **sections)
