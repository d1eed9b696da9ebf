"""What an assimilation estimates of its own errors: its keys `bias` and `adaptive_errors`."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ldas.assim.error_estimation import AdaptiveErrors, BiasOptions
from ldas.pipeline.settings.error_correlations import ErrorCorrelations
from ldas.pipeline.settings.yaml_file import OptionsSection


@dataclass(frozen=True)
class BiasSettings(OptionsSection, BiasOptions):
    """`assim.error_estimation.BiasOptions`, and what a bias is judged by.

    judged_by: open_loop: an observation with an operator by its departures from it in the states that the operator was
    trained on; others, which no training has freed of a mean difference, by innovations. innovations: all of them.
    """

    judged_by: Literal["open_loop", "innovations"] = "open_loop"


@dataclass(frozen=True)
class AdaptiveErrorsSettings(OptionsSection, AdaptiveErrors):
    """`assim.error_estimation.AdaptiveErrors`."""


def require_given_bias(
    run: str, bias: BiasSettings, correlations: ErrorCorrelations, with_operator: Collection[str]
) -> None:
    """ValueError where an observation with correlated errors has a bias that takes its part of the analysis.

    Args:
        run: name of the assimilation.
        with_operator: names of its observations that a trained operator predicts.
    """
    pairs = () if correlations == "validation" else correlations
    without = sorted({name for pair in pairs for name in pair.between} - set(with_operator))
    if bias.judged_by == "innovations" or without:
        raise ValueError(
            f"assimilation {run}: error_correlations: not together with a `bias` that takes its part of the analysis, "
            f"for which errors are independent (here {', '.join(without) or 'judged by innovations'}): possible with "
            "`judged_by: open_loop` and observations that a trained operator predicts"
        )
