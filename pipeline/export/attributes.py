"""Global attributes of exported files (ACDD 1.3, CF), from the experiment and from what made the store."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ldas.pipeline.evaluation.stations import is_synthetic
from ldas.pipeline.export.dataset import Rows
from ldas.pipeline.export.outputs import Output, depths
from ldas.pipeline.export.source import Run
from ldas.pipeline.settings.metadata import MetadataConfig
from ldas.pipeline.store.layout import Grid, Points
from ldas.pipeline.store.provenance import code_version
from ldas.pipeline.twin import SYNTHETIC_ATTRIBUTES

VOCABULARY = "CF Standard Name Table v93"
KEYWORDS = ("land surface", "land data assimilation", "soil moisture", "leaf area index", "ISBA")
_DURATION = {"day": "P1D", "month": "P1M"}
_WORDS = {"day": "Daily values", "month": "Monthly means", "period": "Means"}


def metadata_of(run: Run) -> MetadataConfig:
    """What the experiment file said when the run was made."""
    stored = dict(run.facts.get("provenance", {}).get("configuration", {}).get("metadata") or {})
    known = {name: value for name, value in stored.items() if name in MetadataConfig.model_fields}
    return MetadataConfig.model_validate(known)


def global_attributes(
    run: Run,
    metadata: MetadataConfig,
    outputs: Mapping[str, Output],
    rows: Rows,
    layout: Grid | Points,
    identifier: str,
) -> dict[str, Any]:
    """All that a file says of itself.

    Args:
        identifier: of the file, without spaces.
    """
    provenance = dict(run.facts.get("provenance", {}))
    configuration = dict(provenance.get("configuration", {}))
    experiment = str(configuration.get("name", ""))
    synthetic = is_synthetic(run.root)
    about = metadata.summary or str(configuration.get("description", ""))
    name = metadata.title or experiment or "land surface states and fluxes"
    what = "analysis" if run.is_analysis else "model run without observations"
    time, bounds = rows.time_and_bounds(run)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made_by = str(provenance.get("code", ""))
    given = metadata.model_dump(exclude={"title", "summary", "keywords"})
    attributes: dict[str, Any] = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "title": f"{'SYNTHETIC: ' if synthetic else ''}{name}, {run.name}",
        "summary": " ".join(
            part
            for part in (
                str(SYNTHETIC_ATTRIBUTES["synthetic_statement"]) if synthetic else "",
                f"{about.rstrip('.')}." if about else "",
                f"{_WORDS[rows.every]} of {run.name} ({what}) by ISBA-A-gs in ldas.",
            )
            if part
        ),
        "keywords": ", ".join(metadata.keywords or KEYWORDS),
        "id": identifier,
        "source": f"ISBA-A-gs in ldas {made_by}".strip(),
        "history": "\n".join(
            (f"{now}: exported by ldas {code_version()}", f"{run.path} made by ldas {made_by}".strip())
        ),
        "processing_level": what,
        "standard_name_vocabulary": VOCABULARY,
        "date_created": now,
        "date_issued": now,
        "date_modified": now,
        "date_metadata_modified": now,
        "time_coverage_start": f"{time[0]}Z",
        "time_coverage_end": f"{time[-1]}Z",
        "time_coverage_duration": f"P{int((bounds[-1, 1] - bounds[0, 0]) / np.timedelta64(1, 'D'))}D",
        "time_coverage_resolution": _DURATION.get(
            rows.every, f"P{int((rows.last[0] - rows.first[0]).astype(int)) + 1}D"
        ),
        **_geospatial(layout),
        **_vertical(outputs),
        **{key: value for key, value in given.items() if value},
    }
    if layout.feature_type:
        attributes["featureType"] = layout.feature_type
    if experiment:
        attributes["experiment"] = experiment
    for key in ("synthetic_statement", "observations", "controls"):
        if key in run.facts:
            value = run.facts[key]
            attributes[key] = value if isinstance(value, str) else ", ".join(map(str, value))
    return attributes


def _geospatial(layout: Grid | Points) -> dict[str, Any]:
    south, north, west, east = layout.edges
    corners = ((south, west), (south, east), (north, east), (north, west), (south, west))
    steps = layout.steps if isinstance(layout, Grid) else None
    found: dict[str, Any] = {
        "geospatial_lat_min": float(layout.latitude.min()),
        "geospatial_lat_max": float(layout.latitude.max()),
        "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": float(layout.longitude.min()),
        "geospatial_lon_max": float(layout.longitude.max()),
        "geospatial_lon_units": "degrees_east",
        "geospatial_bounds": "POLYGON ((" + ", ".join(f"{lat:.6g} {lon:.6g}" for lat, lon in corners) + "))",
        "geospatial_bounds_crs": "EPSG:4326",
    }
    if steps is not None:
        found["geospatial_lat_resolution"] = f"{steps[0]:.6g} degrees"
        found["geospatial_lon_resolution"] = f"{steps[1]:.6g} degrees"
    return found


def _vertical(outputs: Mapping[str, Output]) -> dict[str, Any]:
    """Depths: from the axis, or else from the variables of one depth."""
    layers = sorted({layer for output in outputs.values() for layer in output.layers})
    middles = depths(tuple(layers)).mean(axis=1) if layers else np.array([])
    middles = np.concatenate([middles, [np.mean(o.depth) for o in outputs.values() if o.depth is not None]])
    if not len(middles):
        return {}
    return {
        "geospatial_vertical_min": float(middles.min()),
        "geospatial_vertical_max": float(middles.max()),
        "geospatial_vertical_units": "m",
        "geospatial_vertical_positive": "down",
        "geospatial_bounds_vertical_crs": "EPSG:5831",
    }
