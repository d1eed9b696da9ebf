"""No accepted key without effect: one that another choice leaves without effect is refused, and every key of every
settings model is read. That another value of a key shows is in test_effects.py and its neighbours."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

from ldas.pipeline import ingest, twin
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.settings.yaml_file import StrictModel
from tests.support import REPOSITORY

FOLDERS = ("landmodel", "operators", "assim", "pipeline")
SMALL = {"name": "x", "store": {"url": "s"}, "period": {"start": "2007-01-01", "end": "2007-12-31"}}
WINDOW = {"start": "2007-02-01", "end": "2007-03-01"}


def keys(schema: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of the experiment file, with the sections that it is in."""
    for name, entry in schema["properties"].items():
        inner = [found for found in _references(entry) if "properties" in definitions[found]]
        if not inner:
            yield prefix + name
        for found in inner:
            yield from keys(definitions[found], definitions, f"{prefix}{name}.")


def _references(entry: dict[str, Any]) -> Iterator[str]:
    if "$ref" in entry:
        yield entry["$ref"].rsplit("/", 1)[-1]
    inner = [entry[name] for name in ("items", "additionalProperties") if isinstance(entry.get(name), dict)]
    for part in (*entry.get("anyOf", ()), *inner):
        yield from _references(part)


def every_key() -> list[str]:
    schema = ExperimentConfig.model_json_schema()
    return list(keys(schema, schema["$defs"]))


def read_names() -> set[str]:
    """Attributes that the code reads of anything but itself, checks of the settings left out."""
    found: set[str] = set()
    for path in (path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                checks = isinstance(node.value, ast.Name) and node.value.id == "self" and path.parent.name == "settings"
                found |= set() if checks else {node.attr}
    return found


def test_every_key_is_read_by_the_code() -> None:
    """Of the models that have no table of effects: files of ingestion, the landscape of the twin."""
    for room in (ingest, twin):
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    models = [model for model in subclasses(StrictModel) if model.__module__.split(".")[2] in ("ingest", "twin")]
    assert len(models) > 40
    read = read_names()
    assert {key for model in models for key in model.model_fields if key not in read} == set()


def subclasses(of: type) -> Iterator[Any]:
    for found in of.__subclasses__():
        yield found
        yield from subclasses(found)


def test_all_sections_are_gone_through() -> None:
    found = every_key()
    assert len(found) == len(set(found)) > 130
    for key in ("model.horton", "twin.weather.rain.pairs", "assimilation.ensrf.members", "execution.cluster.options"):
        assert key in found


def run(**keys: Any) -> dict[str, Any]:
    return {"assimilation": [{"name": "a", "observations": [{"name": "lai"}], **keys}]}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (run(filter="sekf", ensrf={"members": 5}), "`ensrf` belongs to filter: ensrf, it is sekf"),
        (run(filter="ensrf", sekf={"background": "B"}), "`sekf` belongs to filter: sekf, it is ensrf"),
        (run(sekf={"background": "B", "typical_range": 0.2}), "typical_range has no effect with background: B"),
        (
            {"synthetic": True, "twin": {"from_run": "open_loop", "subset": "crops", "masks": {}}},
            "twin: no effect of masks, subset with from_run, whose cells are used",
        ),
        ({"synthetic": True, "globe": {}, "twin": {}}, "twin and globe both make land and forcing: choose one"),
        ({"globe": {}}, "an experiment with a twin or the globe is synthetic: say `synthetic: true`"),
        (run(options={"a": 1}), "options of filter: sekf are in its section `sekf`"),
        (run(filter="kalman"), "'kalman' is unknown: expected sekf, ensrf"),
        (run(observations=[{"name": "lai", "rescale_months": 5}]), "not rescaled: rescale_months has no meaning"),
        (
            {"operators": [{"training": WINDOW, "kind": "direct", "observation": "lai", "search_architectures": True}]},
            "`search_architectures` belongs to kind: neural",
        ),
        (
            {"operators": [{"training": WINDOW, "kind": "direct", "observation": "lai", "lai": "lai"}]},
            "`lai` has no effect: a direct operator is of the model's own LAI",
        ),
        (
            {"spin_up": {"year": 2007}, "model": {"initial_temperature_k": 280.0}},
            "initial_temperature_k has no effect with a spin-up",
        ),
        ({"model": {"time_step_s": 7200}}, "7200 does not divide an hour"),
        ({"execution": {"cluster": {"kind": "slurm", "processes": True}}}, "processes has no effect with kind: slurm"),
        (
            {"execution": {"cluster": {"kind": "gateway", "threads_per_worker": 2}}},
            "threads_per_worker has no effect with kind: gateway, only with kubernetes, local, slurm",
        ),
    ],
)
def test_a_key_that_another_choice_leaves_without_effect_is_refused(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ExperimentConfig.model_validate({**SMALL, **sections})
