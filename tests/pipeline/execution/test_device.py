"""The device of a run: found or refused before the start, asked for by tasks, kept in the store and on resuming."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client, Scheduler, SpecCluster, Worker, get_worker

from ldas import landmodel
from ldas.landmodel.gpu import Card, CardError, columns_that_fit, cuda_device, find_card
from ldas.pipeline.commands import check
from ldas.pipeline.commands.check import check_experiment
from ldas.pipeline.commands.run import run_experiment
from ldas.pipeline.errors import ConfigurationError, ExecutionError
from ldas.pipeline.execution import cluster, device
from ldas.pipeline.execution.run_stages import run_stages
from ldas.pipeline.execution.stage import prepare
from ldas.pipeline.plan import build_stages
from ldas.pipeline.report.run_facts import accepted_lines, provenance_texts
from ldas.pipeline.settings.execution import ExecutionConfig
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment
from ldas.pipeline.stages.land import records_a_day
from ldas.pipeline.stages.open_loop import OpenLoop
from ldas.pipeline.store import ledger
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store, read_region
from ldas.pipeline.store.ledger import Block, Period
from ldas.pipeline.store.location import Location
from tests.helpers.program import program
from tests.helpers.runs import run_here
from tests.helpers.small_store import write_experiment
from tests.helpers.synthetic_store import FIRST_DAY, experiment, make_store
from tests.helpers.toy import OnCard, Silence
from tests.landmodel.host_device import HostDevice

CARD = Card(
    number=0,
    name="a card that is not there",
    uuid="GPU-1",
    total_bytes=2 * 2**30,
    free_bytes=3 * 2**29,
    compute_capability=(9, 0),
    driver=(13, 0),
    multiprocessors=4,
    threads_per_multiprocessor=1024,
    float64_divisor=2,
)


@pytest.fixture
def without_card() -> None:
    """Skips where there is a card."""
    with suppress(CardError):
        pytest.skip(f"this machine has {find_card()}")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The file of an experiment of two cells and four days, and its store."""
    path = tmp_path / "small.yaml"
    write_experiment(path)
    return path


def asking_for(path: Path, what: str) -> ExperimentConfig:
    """The experiment on a device, or on what is found."""
    config = load_experiment(path)
    execution = config.execution.model_copy(update={"device": what})
    return config.model_copy(update={"execution": execution})


def chosen(config: ExperimentConfig, *cards: str, accept: tuple[str, ...] = ()) -> OpenLoop:
    """The open loop on the processor, or on cards of these names."""
    execution = config.execution.computed_on(cards)
    changed = config.model_copy(update={"execution": execution, "accept": accept})
    (stage,) = (stage for stage in build_stages(changed) if isinstance(stage, OpenLoop))
    return stage


# --- before the start ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_card")
def test_without_a_card_gpu_is_refused_in_one_message_and_auto_says_once_that_it_runs_on_the_processor(
    small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CardError) as missing:
        find_card()
    why = str(missing.value)
    cause = why.removesuffix(": run with device: cpu")
    text = small.read_text().replace("cells_per_block: 1", "cells_per_block: 1, device: gpu, cluster: {workers: 1}")
    small.write_text(text)
    assert program("run", str(small)) == 2
    shown = capfd.readouterr()
    assert " ".join((shown.out + shown.err).split()).endswith(f"error: {why}")
    (row,) = (row for row in check_experiment(load_experiment(small), values=False) if row.what == "device")
    assert (row.state, row.detail) == ("missing", why)

    said: list[str] = []
    assert run_experiment(asking_for(small, "auto"), Silence(), message=said.append).complete
    assert [line for line in said if line.startswith("device")] == [f"device: cpu, as {cause}"]
    root = open_store(load_experiment(small).location)
    group = existing_group(root, "runs/open_loop")
    assert group.attrs["devices"] == ["cpu"]
    assert group.attrs["provenance"]["configuration"]["execution"]["device"] == "cpu"
    (row,) = (row for row in check_experiment(asking_for(small, "auto"), values=False) if row.what == "device")
    assert (row.state, row.detail) == ("ok", f"cpu, as {cause}")


def test_check_says_on_what_a_run_would_compute(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    monkeypatch.setattr(check, "find_card", lambda: CARD)

    def said(config: ExperimentConfig) -> list[tuple[str, str]]:
        return [(row.state, row.detail) for row in check.check_experiment(config, values=False) if row.what == "device"]

    assert said(load_experiment(small)) == []
    of_card = "gpu: a card that is not there (2 GiB, compute capability 9.0, CUDA 13.0)"
    assert said(asking_for(small, "gpu")) == said(asking_for(small, "auto")) == [("ok", of_card)]
    small.write_text(small.read_text().replace("cells_per_block: 1", "cells_per_block: 1, cluster: {kind: slurm}"))
    assert said(asking_for(small, "gpu")) == [("ok", "the run asks its workers for their cards")]


@contextmanager
def workers_with(*resources: dict[str, float]) -> Iterator[Client]:
    """A scheduler with workers that declare these resources."""
    quiet = {"dashboard_address": "127.0.0.1:0", "dashboard": False}
    workers = {
        number: {"cls": Worker, "options": {"nthreads": 1, "resources": declared, "dashboard": False}}
        for number, declared in enumerate(resources)
    }
    scheduler = {"cls": Scheduler, "options": quiet}
    with SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster, Client(cluster) as client:
        yield client


TAKEN_BY: list[str] = []


@dataclass(frozen=True)
class Remembering(OnCard):
    """A toy that remembers which workers took its tasks."""

    def compute(self, root: zarr.Group, block: Block, period: Period) -> np.ndarray:
        """See Stage."""
        TAKEN_BY.append(get_worker().address)
        return super().compute(root, block, period)


def test_cards_of_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers that declare the resource are asked, and they alone take the tasks; a card that two have is refused."""
    gpu = ExecutionConfig.model_validate({"device": "gpu", "cluster": {"kind": "address"}})
    auto = gpu.model_copy(update={"device": "auto"})
    said: list[str] = []
    with workers_with({}) as client:
        with pytest.raises(ExecutionError, match=r"no worker offers a card: .* `dask worker --resources GPU=1`"):
            device.cards_for(gpu, client, said.append)
        assert device.cards_for(auto, client, said.append) == []
        assert len(said) == 1
        assert said[0].startswith("device: cpu, as no worker offers a card")
    with workers_with({"GPU": 1}, {}, {"GPU": 1}) as client:
        addresses = {str(w["name"]): address for address, w in client.scheduler_info(n_workers=-1)["workers"].items()}
        own = {addresses["0"], addresses["2"]}
        each = iter(("first", "second"))
        monkeypatch.setattr(device, "find_card", lambda: CARD._replace(uuid=next(each)))
        cards = device.cards_for(auto, client, said.append)
        assert sorted(card.uuid for card in cards) == ["first", "second"]
        assert said[1:] == ["device: gpu (a card that is not there)"]
        stage = Remembering("toy", Location(str(tmp_path / "store")), cells=12, cells_per_block=1, days=7)
        outcomes = run_stages([stage], client, tasks_in_flight=lambda: 6, retries=0, listener=Silence())
        assert outcomes["toy"].complete
        assert len(TAKEN_BY) == 12
        assert set(TAKEN_BY) == own

        monkeypatch.setattr(device, "find_card", lambda: CARD)
        for settings in (gpu, auto):
            with pytest.raises(ConfigurationError, match=r"share a card .* one worker several threads") as refused:
                device.cards_for(settings, client, said.append)
            assert all(address in str(refused.value) for address in own)


def test_workers_of_this_machine_offer_its_card_to_as_many_tasks_as_they_have_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "find_card", lambda: CARD)
    gpu = ExecutionConfig.model_validate({"device": "gpu", "cluster": {"workers": 3}})
    with cluster.connected(gpu.cluster, cards=True) as client:
        (worker,) = client.scheduler_info()["workers"].values()
        assert worker["resources"] == {"GPU": 3}
        assert device.cards_for(gpu, client, lambda text: None) == [CARD]


def test_a_block_that_the_card_does_not_hold_is_refused_with_one_that_it_holds(small: Path) -> None:
    config = load_experiment(small)
    wide = config.model_copy(update={"execution": config.execution.model_copy(update={"cells_per_block": 10**7})})
    stage = replace(chosen(wide, CARD.name), cells=10**7)
    with pytest.raises(ExecutionError, match="'open_loop' over 10000000 cells does not fit on a") as refused:
        device.check_cards(stage, [CARD._replace(free_bytes=2**40), CARD])
    named = re.search(r"set execution\.cells_per_block to (\d+)", str(refused.value))
    assert named is not None
    fitting = int(named[1])
    columns = columns_that_fit(CARD, 1, 1 + 14)  # LE, and WG of 14 layers
    assert fitting * stage.columns_per_cell <= columns < (fitting + 1) * stage.columns_per_cell
    device.check_cards(replace(stage, cells_per_block=fitting), [CARD])
    device.check_cards(chosen(wide), [CARD])  # on the processor it is as large as one likes


def test_half_hourly_forcing_counts_with_its_records(tmp_path: Path) -> None:
    """49 records a day, both ends included, twice as many as where nothing is known of the forcing."""
    root = zarr.create_group(tmp_path / "store")
    assert records_a_day(root) == 25
    times = FIRST_DAY + np.arange(4) * np.timedelta64(30, "m")
    xr.Dataset(coords={"time": times}).to_zarr(tmp_path / "store", group="forcing", zarr_format=3, consolidated=False)
    assert records_a_day(root) == 49
    assert columns_that_fit(CARD, 1, 15, 49) < columns_that_fit(CARD, 1, 15, 25)


# --- in the stages ---------------------------------------------------------------------------------------------------


def test_every_run_of_the_land_model_is_on_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Open loop, which the spin-up runs as well, both filters and forecasts; on a device in the host's memory, whose
    numbers are those of the processor."""
    card = HostDevice()
    monkeypatch.setattr(cuda_device, "first_card", lambda: card)
    run, asked = landmodel.Isba.run, list[str]()

    def noted(model: landmodel.Isba, *arguments: Any, **keys: Any) -> Any:
        asked.append(keys.get("device", "cpu"))
        return run(model, *arguments, **keys)

    monkeypatch.setattr(landmodel.Isba, "run", noted)
    make_store(tmp_path / "store", cells=1, days=3)
    lai = [{"name": "lai"}]
    config = experiment(
        tmp_path / "store",
        period={"start": "2007-04-01", "end": "2007-04-03"},
        output={"mean": ["LE"], "instant": ["WG2"]},
        assimilation=[
            {"name": "ekf", "observations": lai},
            {"name": "ens", "observations": lai, "filter": "ensrf", "ensrf": {"members": 2}},
        ],
        forecasts=[{"name": "ahead", "from_run": "ekf", "days": 1, "start_on": ["2007-04-02"]}],
    )
    stages = build_stages(config.model_copy(update={"execution": config.execution.computed_on([CARD.name])}))
    for stage in stages:
        before = len(asked), len(card.launches)
        run_here(stage)
        assert set(asked[before[0] :]) == {"gpu"}, stage.name
        assert len(card.launches) > before[1], stage.name
        # as it is stored; the members of an ensemble have products of it
        assert card.kernel.forcing == ("float64" if stage.name == "ens" else "float32"), stage.name
        if isinstance(stage, OpenLoop):
            on_card = array_hashes(str(tmp_path / "store"), "runs/open_loop")
            on_cpu = config.model_copy(update={"store": config.store.model_copy(update={"url": str(tmp_path / "cpu")})})
            make_store(tmp_path / "cpu", cells=1, days=3)
            run_here(chosen(on_cpu))
            assert on_card == array_hashes(str(tmp_path / "cpu"), "runs/open_loop")
    root = open_store(config.location)
    for group in ("runs/open_loop", "runs/ekf", "runs/ens", "forecasts/ahead"):
        assert existing_group(root, group).attrs["devices"] == ["gpu (a card that is not there)"]


@pytest.mark.card
def test_a_run_on_a_card_gives_the_numbers_of_the_processor(small: Path, tmp_path: Path) -> None:
    try:
        card = find_card()
    except CardError as missing:
        pytest.skip(str(missing))
    stored = {}
    for what in ("cpu", "gpu"):
        config = asking_for(small, what)
        shutil.copytree(tmp_path / "store", tmp_path / what)
        config = config.model_copy(update={"store": config.store.model_copy(update={"url": str(tmp_path / what)})})
        assert run_experiment(config, Silence()).complete
        root = open_store(config.location)
        stored[what] = {name: read_region(root, "runs/open_loop", name) for name in ("LE", "WG2")}
    assert existing_group(root, "runs/open_loop").attrs["devices"] == [f"gpu ({card.name})"]
    np.testing.assert_allclose(stored["gpu"]["LE"], stored["cpu"]["LE"], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(stored["gpu"]["WG2"], stored["cpu"]["WG2"], rtol=1e-6)


def test_a_resume_on_another_device_needs_a_key(small: Path) -> None:
    config = load_experiment(small)
    root, on_cpu, on_gpu = open_store(config.location, "a"), chosen(config), chosen(config, CARD.name)
    group = "runs/open_loop"
    run_here(on_cpu)
    assert "execution.device" not in ledger.stored_identity(root, "open_loop")  # as of all earlier commits
    prepare(on_gpu)  # nothing is left to compute
    assert existing_group(root, group).attrs["devices"] == ["cpu"]

    ledger.reopen(root, "open_loop", np.array(["2007-01-01", "NaT"], dtype="datetime64[s]"))
    del existing_group(root, group).attrs["devices"]  # as of all earlier commits
    with pytest.raises(ConfigurationError, match=r"device: 'cpu' in the store, 'gpu' now\n.*accept: \[other_device\]"):
        prepare(on_gpu)
    prepare(on_cpu)
    assert "devices" not in existing_group(root, group).attrs
    accepted = chosen(config, CARD.name, accept=("other_device",))
    prepare(accepted)
    attributes = existing_group(root, group).attrs
    assert attributes["devices"] == ["cpu", "gpu (a card that is not there)"]
    assert attributes["accepted_checks"] == ["other_device"]
    (said,) = accepted_lines(root, ["open_loop"])
    assert said.endswith("its last digits differ (`accept: [other_device]`).")
    ((_, text),) = provenance_texts(root, ["open_loop"])
    assert "devices:\n- cpu\n- gpu (a card that is not there)\n" in text
    prepare(on_gpu)
    with pytest.raises(ConfigurationError, match="device: 'gpu' in the store, 'cpu' now"):
        prepare(on_cpu)
    (row,) = (row for row in check_experiment(asking_for(small, "cpu"), values=False) if row.what == "open_loop")
    assert row.state == "wrong"
    assert "'gpu' in the store, 'cpu' now" in row.detail
