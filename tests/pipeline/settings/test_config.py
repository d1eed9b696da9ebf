"""The experiment file: every mistake gets its line and a suggestion, nothing in a file can run."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from ldas import landmodel
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.experiment import ModelConfig, json_schema, load_experiment
from ldas.pipeline.settings.land_options import model_options
from ldas.pipeline.settings.twin import default_nature
from ldas.pipeline.site.case import SiteCase

GOOD = """\
name: small
store:
  url: store.zarr
period:
  start: 2007-01-01
  end: 2007-12-31
"""
OPERATOR = "{training: {start: 2007-01-01, end: 2007-06-30}}"
ASSIMILATION = "assimilation:\n  - name: ekf\n    observations:\n      - "


def write(folder: Path, text: str) -> Path:
    """An experiment file."""
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_smallest_experiment_and_its_defaults(tmp_path: Path) -> None:
    config = load_experiment(write(tmp_path, GOOD))
    assert config.store.url == str(tmp_path / "store.zarr")
    assert config.period.days == 365
    assert config.model.time_step_s == 1800
    assert config.execution.cluster.kind == "local"
    assert config.location.protocol == "file"


def test_urls_and_absolute_paths_stay_as_they_are(tmp_path: Path) -> None:
    for url in ("s3://bucket/x", "/data/store.zarr"):
        assert load_experiment(write(tmp_path, GOOD.replace("store.zarr", url))).store.url == url


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (GOOD + "modle:\n  runoff: WSAT\n", 7, "modle: unknown key; did you mean 'model'?"),
        (GOOD + "model:\n  run_off: WSAT\n", 8, "model.run_off: unknown key; did you mean 'runoff'?"),
        (GOOD + "execution:\n  cluster:\n    worker: 3\n", 9, "did you mean 'workers'?"),
        (
            GOOD + "assimilation:\n  - name: a\n    observations: [{name: lai}]\n    bias: {judgedby: innovations}\n",
            10,
            "assimilation.0.bias.judgedby: unknown key; did you mean 'judged_by'?",
        ),
        (GOOD + "output:\n  mean: [LE,\n    LEE]\n", 9, "unknown variable 'LEE'; did you mean LE"),
        (GOOD + "output:\n  instant: [WG]\n", 7, "name the layers one by one, such as WG2"),
        (GOOD + "output:\n  mean: [LE]\n  instant: [LE]\n", 7, "LE in both mean and instant"),
        (GOOD + "output:\n  mean: [LE]\n  per_patch: [H]\n", 7, "per_patch H: name it"),
        (GOOD + "model:\n  snow_layers: 5\n", 8, "model.snow_layers: Input should be 3 or 12 (given: 5)"),
        (GOOD + "model:\n  time_step_s: 700\n", 7, "700 does not divide an hour"),
        (GOOD + "spin_up:\n  year: 2007\n  repetitions: 0\n", 9, "greater than or equal to 1"),
        (GOOD + "open_loop:\n  restart_on: [2009-01-01]\n", 1, "restart_on 2009-01-01 is outside the period"),
        (GOOD + "open_loop:\n  name: ../evil\n", 8, "cannot be used in a store"),
        (GOOD.replace("2007-12-31", "2006-12-31"), 4, "end 2006-12-31 is before start 2007-01-01"),
        (
            GOOD.replace("2007-12-31", "31/12/2007"),
            6,
            "period.end: Input should be a date, year-month-day, such as 2007-01-31 (given: '31/12/2007')",
        ),
        (GOOD.replace("2007-12-31", "20071231"), 6, "such as 2007-01-31 (given: 20071231)"),
        (GOOD.replace("  end: 2007-12-31\n", ""), 4, "period.end: this key is needed"),
        (GOOD.replace("name: small\n", ""), 1, "name: this key is needed"),
        (
            GOOD.replace("store.zarr", "memory://x") + "execution:\n  cluster: {processes: true}\n",
            1,
            "one process only",
        ),
        (GOOD.replace("store.zarr", "''"), 2, "the store URL is empty"),
        (GOOD.replace("url: store.zarr", "url: s3://a/b\n  options: {secret: x}"), 2, "credentials"),
        (GOOD + "execution:\n  cluster: {address: 'tcp://127.0.0.1:1'}\n", 8, "address belongs to kind: address"),
        (GOOD + "name: again\n", 7, "'name' is given twice"),
        (GOOD + "model: {runoff: WSAT\n", 8, "not valid YAML"),
        (GOOD + "model:\n\trunoff: WSAT\n", 8, "indent with spaces, not with tabs"),
        (GOOD + f"operators: [{OPERATOR}, {OPERATOR}]\n", 1, "operators must have distinct names, got neural, neural"),
        (
            GOOD + "operators: [{observation: [], training: {start: 2007-01-01, end: 2007-06-30}}]\n",
            7,
            "name the observation",
        ),
        (
            GOOD + f"operators: [{OPERATOR.replace('2007', '2006')}]\n",
            1,
            "operator neural: its training, 2006-01-01 to 2006-06-30, is outside the period",
        ),
        (GOOD + ASSIMILATION + "lai\n", 10, "Input should be a mapping of keys (given: 'lai')"),
        (GOOD + ASSIMILATION + "{name: lia}\n", 10, "lia is not observed directly (lai, swi, ssm,"),
        (
            GOOD + ASSIMILATION + "{name: lai}\n    error_correlations: 0.4\n",
            11,
            "assimilation.0.error_correlations: Input should be a list or 'validation' (given: 0.4)",
        ),
        (GOOD + "execution:\n  cluster: {memory_limit: much}\n", 8, "expected a size with its unit, such as 4GiB"),
        (
            GOOD + "synthetic: true\nglobe: {}\nspin_up: {year: 2008}\n",
            1,
            "spin_up needs the weather of 2008-01-01 to 2008-12-31, but weather is made for the period only",
        ),
        (GOOD + "model: !!python/object/apply:os.system ['false']\n", 7, "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert problem in message
    assert f"{path}:{line}:" in message


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(write(tmp_path, GOOD + "modle: 1\nexecuton: 2\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_mistake_in_a_key_of_several_forms_is_named_by_that_key_alone(tmp_path: Path) -> None:
    forms = "assimilation:\n  - name: ekf\n    error_correlations:\n      - {between: [lai, swi], size: 1.2}\n"
    path = write(tmp_path, GOOD + forms + "    observations: [{name: lai}, {name: swi}]\n")
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(path)
    where = f"{path}:10: assimilation.0.error_correlations.0.size"
    assert str(caught.value) == f"{where}: Input should be less than 1 (given: 1.2)"


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_files_that_are_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"empty|mapping"):
        load_experiment(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_experiment(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_experiment(tmp_path / "binary.yaml")


def test_a_small_file_that_would_expand_to_billions_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(ConfigurationError, match="more than"):
        load_experiment(write(tmp_path, GOOD + bomb))


def test_the_schema_describes_every_key() -> None:
    schema = json.loads(json_schema())
    assert set(schema["required"]) == {"name", "store", "period"}
    for definition in schema["$defs"].values():
        if "properties" in definition:
            assert definition["additionalProperties"] is False


@pytest.mark.parametrize("model", [ModelConfig, SiteCase.model_fields["options"].annotation])
def test_model_options_are_those_of_the_land_model(model: Any) -> None:
    for option in dataclasses.fields(landmodel.Options):
        key = model.model_fields[option.name]
        assert (key.annotation, key.default) == (get_type_hints(landmodel.Options)[option.name], option.default)
        assert key.description == option.metadata["description"]
    changed = {
        "pedotransfer": "CO84", "light_scheme": "carrer", "runoff": "DT92", "horton": True, "drip": "SGH",
        "snow_layers": 3, "soil_respiration": "PRM", "conserve_heat": True, "energy_substep_s": 100.0,
    }  # fmt: skip
    assert dataclasses.asdict(model_options(model.model_validate(changed))) == changed


def test_nature_has_the_options_of_the_land_model_and_keeps_those_that_are_given() -> None:
    """What stands in the ledger of an earlier twin is what its file gives."""
    nature = default_nature()
    given = {"pedotransfer": "CO84", "runoff": "DT92", "light_scheme": "carrer", "snow_layers": 12}
    assert nature.model_dump(mode="json")["options"] == given
    assert model_options(nature.options) == landmodel.Options(**given)  # type: ignore[arg-type]
