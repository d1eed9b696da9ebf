"""Files that were corrected, or came after later ones: the store has the bytes of one ingest of what there is now."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from ldas.pipeline.commands.run import ingest
from ldas.pipeline.errors import IngestError
from ldas.pipeline.ingest import revise_group
from ldas.pipeline.settings.experiment import ExperimentConfig
from ldas.pipeline.store import groups
from ldas.pipeline.store.arrays import array_hashes, existing_group, open_store
from tests.pipeline.ingest import samples
from tests.pipeline.stages.test_extension import LAST_END, write_experiment, write_files


def ingested(folder: Path) -> ExperimentConfig:
    """Ingests all files of a folder; its experiment."""
    config = write_experiment(folder, LAST_END)
    ingest(config, lambda text: None)
    return config


def revised(config: ExperimentConfig) -> list[str | None]:
    """What was done to the forcing and to the leaf area."""
    return [revise_group(step.source, step.config, config.location, step.makes) for step in config.ingest[1:]]


def correct(folder: Path) -> None:
    """Another temperature on day 10, other leaves on day 3, and those of day 5, which were not there."""
    file = folder / "forcing_09.nc"
    with xr.open_dataset(file) as opened:
        forcing = opened.load()
    forcing["Tair"][{"time": 30}] += 1.0
    forcing.to_netcdf(file)
    samples.write_cgls(folder / "lai_03.nc", "LAI", "2007-04-03T00:00", scale_factor=1 / 20.0)
    samples.write_cgls(folder / "lai_05.nc", "LAI", "2007-04-05T00:00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of two weeks, one of which is missing."""
    tmp_path.joinpath("pieces").mkdir()
    write_files(tmp_path / "pieces", range(1, 9))
    write_files(tmp_path / "pieces", range(9, 15))
    (tmp_path / "pieces" / "lai_05.nc").unlink()
    return tmp_path / "pieces"


def test_bit_identical_to_one_ingest_of_the_corrected_files(folder: Path, tmp_path: Path) -> None:
    config = ingested(folder)
    correct(folder)
    said = revised(config)
    url = config.location.url
    assert said == [
        f"revised forcing of {url}: 1 values",
        f"revised observations/lai of {url}: 1 late times from 2007-04-06T00:00 UTC on",
    ]
    whole = tmp_path / "whole"
    whole.mkdir()
    for file in folder.glob("*.nc"):
        (whole / file.name).write_bytes(file.read_bytes())
    assert array_hashes(url) == array_hashes(ingested(whole).location.url)
    assert revised(config) == [None, None]
    with pytest.raises(IngestError, match="reads no files: leave `revise` out"):
        revise_group("site", config.ingest[0].config, config.location, "land")
    entry = existing_group(open_store(url), "observations/lai").attrs["ingests"][-1]  # type: ignore[index]
    assert entry["revised"]  # type: ignore[index, call-overload]
    before = array_hashes(url)
    left_as_is = [f"{step.makes} of {url} is not revised" for step in config.ingest[1:]]
    for day, expected in ((13, left_as_is), (16, ["None", "None"])):  # the only files: of a stored day, of a later one
        for file in folder.glob("*.nc"):
            file.unlink()
        write_files(folder, range(day, day + 1))
        samples.write_cgls(folder / "lai.nc", "LAI", f"2007-04-{day:02d}T00:00", scale_factor=1 / 20.0)
        (folder / "lai.nc").rename(folder / f"lai_{day:02d}.nc")  # not as it was ingested
        assert [str(text).partition(":")[0] for text in revised(config)] == expected
    assert array_hashes(url) == before


def test_a_replacement_that_was_killed_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the old group was removed, and before the new one was written."""
    config = ingested(folder)
    correct(folder)
    real = groups.write_group

    def killed(root: zarr.Group, path: str, *rest: object, **more: object) -> None:
        if path == "observations/lai" and "replacing" in root:
            raise KeyboardInterrupt
        real(root, path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(groups, "write_group", killed)
    with pytest.raises(KeyboardInterrupt):
        revised(config)
    monkeypatch.undo()
    assert "observations/lai" not in open_store(config.location)
    ingest(config, lambda text: None)
    root = open_store(config.location)
    assert "replacing" not in root
    times = np.asarray(root["observations/lai/nominal_time"])
    assert len(times) == 7
