"""Correlations between the errors of observations, as an assimilation's key `error_correlations`."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ldas.pipeline.settings.yaml_file import StrictModel


class ErrorCorrelation(StrictModel):
    """Correlation between the errors of two observation types of one time."""

    between: tuple[str, str] = Field(description="two observation types, such as [tbh, tbv]")
    size: float = Field(gt=-1.0, lt=1.0, description="the correlation")


ErrorCorrelations = Annotated[
    tuple[ErrorCorrelation, ...] | Literal["validation"],
    Field(
        description="Correlations between the errors of observation types of one time: pairs such as {between: [tbh, "
        "tbv], size: 0.6}; or validation: those of the residuals of operators that predict several of them, cell by "
        "cell, shrunk where there are few (default: none)"
    ),
]


def require_possible(correlations: Sequence[ErrorCorrelation], names: Sequence[str]) -> None:
    """ValueError for a type that is unknown, a pair that is given twice, or a matrix that is not positive definite."""
    matrix, said = np.eye(len(names)), set[frozenset[str]]()
    for pair in correlations:
        one, other = pair.between
        unknown = [name for name in pair.between if name not in names]
        if unknown or one == other:
            raise ValueError(
                f"error_correlations: between {one} and {other}: expected two of the observations {', '.join(names)}"
            )
        if frozenset(pair.between) in said:
            raise ValueError(f"error_correlations: {one} and {other} come twice: give one correlation for a pair")
        said.add(frozenset(pair.between))
        i, j = names.index(one), names.index(other)
        matrix[i, j] = matrix[j, i] = pair.size
    if np.linalg.eigvalsh(matrix)[0] <= 0.0:
        sizes = ", ".join(f"{' and '.join(pair.between)} {pair.size:g}" for pair in correlations)
        raise ValueError(
            f"error_correlations: the matrix of {sizes} is not positive definite: such errors cannot be correlated "
            "like this all at once; give smaller sizes"
        )
