"""The observation types of an assimilation in a block of cells: operators, errors and limits for the filter."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import zarr

from ldas.assim import ObservationError, ObservationType
from ldas.assim.diagnostics import desroziers, estimated_error
from ldas.operators.direct import DirectOperator
from ldas.operators.joint import JointOperator
from ldas.operators.protocol import ObservationOperator
from ldas.pipeline import registry
from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.assimilation import MODEL_VARIABLE, AssimilatedConfig, AssimilationConfig
from ldas.pipeline.store.arrays import read_region
from ldas.pipeline.store.ledger import Block
from ldas.pipeline.store.operator_store import read_operator


def observation_types(
    root: zarr.Group, settings: AssimilationConfig, block: Block, cell_ids: np.ndarray, in_training: Collection[str]
) -> list[ObservationType]:
    """The types in the order of the settings.

    Args:
        root: the store.
        settings: of the assimilation.
        block: the cells.
        cell_ids: (cell,) their identities.
        in_training: operators of which these cells are trained, others may not be yet.
    """
    types = [_observation_type(root, entry, block, cell_ids, in_training) for entry in settings.observations]
    found: dict[tuple[str, str], Any]
    if settings.error_correlations == "validation":
        found = _of_validation(root, settings, cell_ids, in_training)
    else:
        found = {pair.between: pair.size for pair in settings.error_correlations}
    for (one, other), size in found.items():
        place = next(number for number, kind in enumerate(types) if kind.name == one)
        known = types[place].error_correlation
        types[place] = replace(types[place], error_correlation={**known, other: size})
    return types


def _observation_type(
    root: zarr.Group, entry: AssimilatedConfig, block: Block, cell_ids: np.ndarray, in_training: Collection[str]
) -> ObservationType:
    operator: ObservationOperator
    if entry.operator is not None:
        operator = read_operator(
            root, entry.operator, cell_ids=cell_ids, output_name=entry.name, in_training=entry.operator in in_training
        )
        valid = registry.variable(entry.name).valid_range
    else:
        variable = MODEL_VARIABLE[entry.name]
        unit = registry.variable(variable).unit
        operator = DirectOperator(cell_ids, predictor_name=variable, unit=unit, output_name=entry.name)
        valid = registry.variable(variable).valid_range
    low, high = entry.valid_range or valid or (-np.inf, np.inf)
    return ObservationType(
        name=entry.name,
        operator=operator,
        error=error_of(root, entry, block, operator),
        valid_range=(low, high),
        innovation_limit=entry.innovation_limit or np.inf,
        assimilate=entry.assimilate,
        reject_frozen=entry.reject_frozen,
        reject_snow=entry.reject_snow,
    )


def error_of(
    root: zarr.Group, entry: AssimilatedConfig, block: Block, operator: ObservationOperator | None = None
) -> ObservationError:
    """The error of an observation type, predicted by this operator; where it is estimated, one of each cell."""
    model = entry.error_model
    if model.kind == "validation":
        rmsd = getattr(operator, "validation_error", None)
        if rmsd is None:
            raise ConfigurationError(
                f"{entry.name}: the operator '{entry.operator}' has no validation samples, which its error of kind: "
                "validation is the RMSD of: give it another error, or train a network"
            )
        return ObservationError("absolute", np.where(rmsd > 0.0, rmsd, model.size))
    if model.kind != "estimated":
        return ObservationError(model.kind, model.size)
    innovation, residual = (
        np.asarray(
            read_region(root, f"runs/{model.from_run}", f"{family}_{entry.name}", {"cell": block.region}), dtype=float
        )
        for family in ("innovation", "linear_residual")
    )
    return ObservationError("absolute", estimated_error(desroziers(innovation, residual), model.size))


def _of_validation(
    root: zarr.Group, settings: AssimilationConfig, cell_ids: np.ndarray, in_training: Collection[str]
) -> dict[tuple[str, str], Any]:
    """(cell,) correlations of the residuals of observations that one operator predicts, by pair."""
    found: dict[tuple[str, str], Any] = {}
    operators = [entry.operator for entry in settings.observations]
    for name in dict.fromkeys(name for name in operators if name is not None and operators.count(name) > 1):
        operator = read_operator(root, name, cell_ids=cell_ids, in_training=name in in_training)
        assert isinstance(operator, JointOperator)  # no other predicts several observations
        correlation, names = operator.residual_correlation, operator.output_names
        asked = [entry.name for entry in settings.observations if entry.operator == name]
        for number, one in enumerate(asked):
            for other in asked[:number]:
                found[one, other] = correlation[:, names.index(one), names.index(other)]
    return found
