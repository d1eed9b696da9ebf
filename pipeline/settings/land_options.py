"""The options of the land model as keys of a configuration file: `landmodel.Options`, declared once."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import Field, create_model

from ldas.landmodel import Options
from ldas.pipeline.settings.yaml_file import StrictModel

if TYPE_CHECKING:

    class LandOptions(StrictModel, Options):
        """What type checkers know of it."""

else:

    def _key(entry: Any) -> Any:
        about = entry.metadata
        return Field(entry.default, description=about["description"], gt=about["above"])

    LandOptions = create_model(
        "LandOptions",
        __base__=StrictModel,
        __doc__="Options of ISBA that differ from their defaults (docs/open_options.md).",
        **{entry.name: (get_type_hints(Options)[entry.name], _key(entry)) for entry in fields(Options)},
    )


def model_options(settings: LandOptions) -> Options:
    """`landmodel.Options` of a configuration that has its keys."""
    return Options(**settings.model_dump(include={entry.name for entry in fields(Options)}))
