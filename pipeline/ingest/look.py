"""What tells the format of a product file: its kind by the first bytes, and its header or first lines."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import xarray as xr

from ldas.pipeline import files
from ldas.pipeline.ingest import arco, ascat_swath, era5, grib

_SCHEME = re.compile(r"^([a-z0-9]{2,}):/+")
_HEAD = 1 << 20  # characters of a text in which its bands are looked for


@dataclass(frozen=True)
class Look:
    """What tells the format of a file: its kind, and the header of a NetCDF file or archive, or the first lines."""

    name: str  #: path or URL
    kind: str  #: NetCDF, GRIB, BUFR, Zarr or text
    header: xr.Dataset = field(default_factory=xr.Dataset)  #: without decoding
    lines: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The path of a file."""
        return Path(self.name)

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables."""
        return frozenset(map(str, self.header.variables))

    @cached_property
    def fields(self) -> list[xr.Dataset]:
        """The fields of a GRIB file."""
        return era5.open_file(self.path)

    @cached_property
    def text(self) -> str:
        """The beginning of a text."""
        with self.path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_HEAD)


def plain_name(path: Path | str) -> str:
    """A path, or a URL of which a Path has made one slash of two."""
    return _SCHEME.sub(r"\1://", str(path))


def kind_of(path: Path | str) -> str:
    """NetCDF, GRIB, BUFR, Zarr or text, by the first bytes; IngestError for a file that cannot be read."""
    name = plain_name(path)
    if "://" in name or Path(name).is_dir():
        return "Zarr"
    if files.magic(Path(name)) in files.NETCDF:
        return "NetCDF"
    kinds = (("GRIB", grib.GRIB), ("BUFR", ascat_swath.BUFR))
    return next((kind for kind, marker in kinds if files.holds_messages(Path(name), marker)), "text")


def look_at(path: Path | str) -> Look:
    """A file or a Zarr archive (folder or URL) as the table needs it.

    Raises:
        IngestError: it cannot be read, or is damaged.
    """
    name, kind = plain_name(path), kind_of(path)
    if kind == "Zarr":
        options = {"token": "anon"} if name.startswith("gs://") else {}
        return Look(name, kind, arco.open_archive(name, options, timeout_s=60.0))
    if kind == "NetCDF":
        with files.open_netcdf(Path(name), decode_times=False, mask_and_scale=False) as header:
            return Look(name, kind, header)
    return Look(name, kind, lines=tuple(files.first_lines(Path(name))) if kind == "text" else ())
