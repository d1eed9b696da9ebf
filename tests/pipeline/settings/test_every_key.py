"""No accepted key without effect: every key of the experiment file is read, and one that another choice leaves without
effect is refused."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from ldas.pipeline.settings.experiment import ExperimentConfig
from tests.support import REPOSITORY

FOLDERS = ("landmodel", "operators", "assim", "pipeline")
# Keys that no code outside the settings reads as an attribute, and what has the effect instead.
ELSEWHERE = {
    "description": ("pipeline/report/write.py", 'configuration["description"]'),
    "dry_soil_backscatter": ("operators/water_cloud.py", "getattr(self, name) for name in PARAMETERS"),
    "soil_moisture_sensitivity": ("operators/water_cloud.py", "getattr(self, name) for name in PARAMETERS"),
    "filter": ("pipeline/settings/assimilation.py", "methods[self.filter]"),
    "vegetation_of_patch": ("pipeline/settings/experiment.py", "in self.vegetation_of_patch.items()}"),
}
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
    for part in (*entry.get("anyOf", ()), *([entry["items"]] if "items" in entry else ())):
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
    read, unread = read_names(), []
    for key in every_key():
        name = key.rsplit(".", 1)[-1]
        if name not in read:
            unread.append(name)
    assert sorted(set(unread)) == sorted(ELSEWHERE)
    for file, line in ELSEWHERE.values():
        assert line in (REPOSITORY / file).read_text(encoding="utf-8")


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
    ],
)
def test_a_key_that_another_choice_leaves_without_effect_is_refused(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ExperimentConfig.model_validate({**SMALL, **sections})
