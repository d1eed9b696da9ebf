"""Every source of ldas itself keeps the contract of sources, as those of other packages do."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ldas.pipeline.ingest.run import SOURCES
from ldas.pipeline.ingest.testing import SourceContract
from tests.pipeline.ingest import (
    place_samples,
    samples,
    test_alma,
    test_daily,
    test_gridded,
    test_ismn,
    test_land_surfex,
    test_modis_files,
    test_run,
)
from tests.pipeline.ingest.test_tower import PLACE, TABLE
from tests.pipeline.tables.test_training import table

Keys = dict[str, Any]


def era5(folder: Path) -> Keys:
    return {"files": [str(test_run.era5_files(folder))], "cells": test_run.POINTS}


def arco(folder: Path) -> Keys:
    period = {"start": "2015-03-01T00:00", "end": "2015-03-02T05:00"}
    return {"url": str(test_alma.arco_mimic(folder)), "url_options": {}, "period": period, "cells": test_run.POINTS}


def alma(folder: Path) -> Keys:
    test_alma.write(test_alma.site_dataset(), folder / "site.nc")
    return {"files": [str(folder / "site.nc")], "stamp": "start", "utc_offset_h": 1}


def daily(folder: Path) -> Keys:
    return {"files": [str(test_daily.write_table(folder, test_daily.ROWS))], "place": PLACE}


def station(folder: Path) -> Keys:
    return {"files": [str(path) for path in place_samples.write_ismn(folder)]}


def half_hourly(folder: Path) -> Keys:
    file = place_samples.write_half_hours(folder / "HH.csv")
    return {"files": [str(file)], "place": {"latitude": 44.0, "longitude": 1.0, "elevation": 100.0}, "utc_offset_h": 1}


def epw(folder: Path) -> Keys:
    period = {"start": "2011-01-02T00:00", "end": "2011-01-03T00:00"}
    return {"files": [str(place_samples.write_epw(folder / "a.epw"))], "period": period}


def ascat(folder: Path) -> Keys:
    return {"files": [str(samples.write_cell_file(folder / "0001.nc"))], "cells": {"points": [[44.05, 0.1]]}}


def cgls(folder: Path) -> Keys:
    file = samples.write_cgls(folder / "swi.nc")
    return {"files": [str(file)], "variable": "SWI_001", "cells": {"points": [[44.25, 0.25]]}}


def gridded(folder: Path) -> Keys:
    return test_gridded.esa_cci(folder)


def modis(folder: Path) -> Keys:
    cells = test_modis_files.REGION.model_dump(mode="json")
    return {"files": [str(test_modis_files.modistools(folder / "a.csv"))], "cells": cells, "least_fraction": 0.3}


def ismn(folder: Path) -> Keys:
    return {"files": [str(test_ismn.write_sensor(folder))]}


def land(folder: Path) -> Keys:
    test_land_surfex.maps(folder)
    maps = str(folder / "maps.nc")
    region = {"south": 44.0, "north": 44.25, "west": 0.0, "east": 0.5}
    return {"cells": {"region": region}, "cover": {"map": {"file": maps, "variable": "igbp"}}, "clay": 0.3, "sand": 0.4}


def surfex_land(folder: Path) -> Keys:
    return {"files": [str(test_land_surfex.write_pgd(folder / "PGD.nc"))]}


def surfex_run(folder: Path) -> Keys:
    files = [str(test_land_surfex.write_output(folder / "ISBA.nc"))]
    return {"files": files, "pgd": surfex_land(folder)["files"][0], "variables": ["WG2", "LAI", "LE"]}


def site(folder: Path) -> Keys:
    return {"place": PLACE, "clay": 0.39, "sand": 0.14, "patch_fraction": {4: 0.7, 10: 0.3}}


def tower(folder: Path) -> Keys:
    (folder / "table.csv").write_text(TABLE)
    return {"files": [str(folder / "table.csv")], "place": PLACE, "code": "XX-Own"}


def collocated(folder: Path) -> Keys:
    return {"files": [str(table(folder / "table.nc"))]}


MAKERS: dict[str, Callable[[Path], Keys]] = {
    "era5": era5, "arco": arco, "alma": alma, "daily": daily, "station": station,
    "half_hourly": half_hourly, "epw": epw, "ascat": ascat, "cgls": cgls, "gridded": gridded, "modis": modis,
    "ismn": ismn, "land": land, "surfex-land": surfex_land, "surfex-run": surfex_run, "site": site, "tower": tower,
    "collocated": collocated,
}  # fmt: skip


def test_no_source_is_left_out() -> None:
    assert list(MAKERS) == list(SOURCES)


@pytest.mark.parametrize("name", MAKERS)
class TestSource(SourceContract):
    """The contract, with tiny files that the tests make themselves."""

    @pytest.fixture(autouse=True)
    def named(self, name: str) -> None:
        """The source of this case."""
        self.source = name

    @pytest.fixture
    def config(self, name: str, tmp_path: Path) -> Mapping[str, Any]:
        """See `SourceContract.config`."""
        folder = tmp_path / "files"
        folder.mkdir()
        return MAKERS[name](folder)
