"""What makes a run another one, and what does not: identities that earlier versions stored against those of today."""

from pathlib import Path
from typing import Any

import pytest

from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import open_store

IDENTITY: dict[str, Any] = {
    "spin_up": {"year": 2007},
    "model": {"initial_temperature_k": 285.0, "horton": False},
    "assimilation": {
        "filter": "sekf",
        "sekf": {"background": "A"},
        "ensrf": {"members": 20},
        "observations": [{"name": "lai", "rescale": "none", "rescale_months": 3}],
    },
}


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    """The identity with another value at a place."""

    def at(part: Any, keys: tuple[str | int, ...]) -> Any:
        if not keys:
            return value
        if isinstance(part, list):
            return [at(item, keys[1:]) if index == keys[0] else item for index, item in enumerate(part)]
        return {**part, keys[0]: at(part.get(keys[0]), keys[1:])}

    found: dict[str, Any] = at(IDENTITY, path)
    return found


def differing(folder: Path, stored: dict[str, Any], now: dict[str, Any]) -> set[str]:
    root = open_store(str(folder / "store"), "a")
    ledger.create(root, "run", periods=[], cells=1, cells_per_block=1, identity=stored)
    return set(ledger.differences(root, "run", now))


@pytest.mark.parametrize(
    "stored",
    [
        changed("model", "initial_temperature_k", value=290.0),
        changed("assimilation", "ensrf", "members", value=40),
        changed("assimilation", "sekf", "analysis_hour_utc", value=9),
        changed("assimilation", "observations", 0, "rescale_months", value=5),
    ],
)
def test_keys_without_effect_do_not_make_a_run_another_one(tmp_path: Path, stored: dict[str, Any]) -> None:
    assert differing(tmp_path, stored, IDENTITY) == set()


@pytest.mark.parametrize(
    ("now", "key"),
    [
        (changed("model", "horton", value=True), "model.horton"),
        (changed("spin_up", "year", value=2008), "spin_up.year"),
        (changed("assimilation", "sekf", "background", value="B"), "assimilation.sekf.background"),
        (changed("assimilation", "observations", 0, "rescale", value="linear"), "assimilation.observations"),
    ],
)
def test_keys_with_an_effect_do(tmp_path: Path, now: dict[str, Any], key: str) -> None:
    assert key in differing(tmp_path, IDENTITY, now)


def test_the_typical_range_has_no_effect_with_another_background(tmp_path: Path) -> None:
    stored, now = (
        {"assimilation": {"filter": "sekf", "sekf": {"background": "B", "typical_range": size}}} for size in (0.1, 0.2)
    )
    assert differing(tmp_path, stored, now) == set()


def test_the_temperature_of_a_start_without_spin_up_has_an_effect(tmp_path: Path) -> None:
    stored, now = ({"model": {"initial_temperature_k": value}} for value in (285.0, 290.0))
    assert differing(tmp_path, stored, now) == {"model.initial_temperature_k"}


def test_another_filter_is_another_run(tmp_path: Path) -> None:
    now = changed("assimilation", "filter", value="ensrf")
    assert "assimilation.filter" in differing(tmp_path, IDENTITY, now)
