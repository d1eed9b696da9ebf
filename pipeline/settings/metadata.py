"""What the files of `ldas export` say of an experiment beside its results: who made it, and how it may be used."""

from pydantic import Field

from ldas.pipeline.settings.yaml_file import StrictModel


class MetadataConfig(StrictModel):
    """Attributes of exported files, by their names in ACDD 1.3; no result depends on them."""

    title: str = Field("", description="Title of the data set; default: the name of the experiment")
    summary: str = Field("", description="What it is, in a paragraph; default: the description of the experiment")
    keywords: tuple[str, ...] = Field((), description="Keywords; default: general ones of land data assimilation")
    institution: str = Field("", description="Where it was made")
    project: str = Field("", description="Project that it was made for")
    creator_name: str = Field("", description="Who made it")
    creator_email: str = Field("", description="Address of whoever made it")
    creator_url: str = Field("", description="Page of whoever made it")
    publisher_name: str = Field("", description="Who distributes it")
    publisher_email: str = Field("", description="Address of whoever distributes it")
    publisher_url: str = Field("", description="Page of whoever distributes it")
    license: str = Field("", description="How it may be used, such as CC-BY-4.0")
    naming_authority: str = Field("", description="Who makes `id` unique, such as org.example")
    acknowledgement: str = Field("", description="Whom to thank, and for what")
    references: str = Field("", description="Publications or pages that describe it")
    comment: str = Field("", description="Anything else")
