"""The command line: `ldas`. Each command imports what it needs when it is called, so that help and errors come at once.

Exit status: 0 done; 1 a bug in this software; 2 wrong input, said in one message; 3 the run is done, but blocks or
cells were set aside; 128 + its number: ended by a signal (`ldas.pipeline.execution.signals`).
"""

import json
import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from ldas.pipeline.commands.arguments import experiment_of, store_of
from ldas.pipeline.execution.threads import limit_threads

if TYPE_CHECKING:
    from ldas.pipeline.commands.run import RunResult

app = typer.Typer(
    name="ldas",
    help="Open land data assimilation: from forcing and observations to analyses, scores and a report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Experiment = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="Experiment file")]
RunUrl = Annotated[
    str, typer.Argument(metavar="RUN", help="Store of the run (folder or URL), experiment file, or folder of the demo")
]
ClusterKind = Literal["local", "address", "slurm", "kubernetes", "gateway"]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON too")]
WRONG_INPUT, INCOMPLETE, BROKEN_PIPE = 2, 3, 141
_STATES = {"ok": "green", "accepted": "yellow", "missing": "yellow", "wrong": "red"}


def main() -> None:
    """A command: errors of the user's input become one message and exit status 2, never a traceback."""
    from ldas.pipeline.commands.messages import expanded, use_plain_signs
    from ldas.pipeline.execution.signals import end_if_interrupted

    limit_threads()
    use_plain_signs()
    try:
        app(expanded(sys.argv[1:]))
    except BrokenPipeError:  # `ldas status ... | head`: nobody is reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        end_if_interrupted(error)
        sys.exit(_report_error(error))


def _report_error(error: Exception) -> int:
    from ldas.landmodel.errors import LdasError
    from ldas.pipeline.commands.messages import advice

    text = str(error) if isinstance(error, LdasError) else advice(error)
    if text is not None:
        _stderr().print(f"error: {text}", style="red", highlight=False, markup=False, soft_wrap=True)
        return WRONG_INPUT
    with tempfile.NamedTemporaryFile("w", prefix="ldas-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    text = f"error: {type(error).__name__}: {error}\nThis is a bug in ldas, not in your input: {file.name} has details"
    _stderr().print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    return 1


def _stderr() -> Console:
    return Console(stderr=True)


def _write_json(path: Path | None, content: Any) -> None:
    if path is not None:
        _write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=True) + "\n")


def _write_text(path: Path, text: str) -> None:
    from ldas.pipeline.errors import PipelineError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PipelineError(f"{path}: cannot be written ({error.strerror})") from error


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version")] = False) -> None:
    if version:
        from ldas.pipeline.store.provenance import code_version

        print(code_version())
        raise typer.Exit


@app.command()
def check(
    experiment: Experiment,
    values: Annotated[bool, typer.Option(help="Read all forcing and observations: gaps, ranges, units")] = True,
    json_file: JsonFile = None,
) -> None:
    """Everything but the compute: configuration, inputs, their span and values, an earlier run of other settings."""
    from ldas.pipeline.commands.check import check_experiment

    rows = check_experiment(experiment_of(experiment), values=values)
    table = Table("what", "state", Column("detail", overflow="fold"))
    for row in rows:
        table.add_row(escape(row.what), f"[{_STATES[row.state]}]{row.state}[/]", escape(row.detail))
    Console().print(table)
    _write_json(json_file, [vars(row) for row in rows])
    if any(row.state in ("missing", "wrong") for row in rows):
        raise typer.Exit(WRONG_INPUT)


@app.command()
def run(
    experiment: Experiment,
    cluster: Annotated[ClusterKind | None, typer.Option(help="Kind of cluster to use instead")] = None,
    address: Annotated[str | None, typer.Option(help="Scheduler to use instead, such as tcp://host:8786")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of workers")] = None,
    processes: Annotated[bool | None, typer.Option(help="Local workers as processes or as threads")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each worker")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Memory of each worker, such as 4GiB")] = None,
    json_file: JsonFile = None,
) -> None:
    """Run an experiment, or resume it."""
    from ldas.pipeline.commands.run import run_experiment
    from ldas.pipeline.execution.progress import ProgressDisplay

    chosen = {
        "kind": cluster or ("address" if address else None),
        "address": address,
        "workers": workers,
        "processes": processes,
        "threads_per_worker": threads,
        "memory_limit": memory_limit,
    }
    config = experiment_of(experiment, chosen)
    with ProgressDisplay() as display:
        result = run_experiment(config, display, message=display.message)
    _write_json(json_file, {name: vars(outcome) for name, outcome in result.outcomes.items()})
    _finish(result, experiment)


@app.command()
def cycle(
    experiment: Experiment,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Last day (default: as far as the forcing goes)"),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Every day: ingest what is new, analyse it, compute again what late or corrected input touches, report."""
    from ldas.pipeline.commands.cycle import run_cycle
    from ldas.pipeline.execution.progress import ProgressDisplay

    with ProgressDisplay() as display:
        day = None if until is None else until.date()
        result = run_cycle(experiment_of(experiment), display, until=day, message=display.message)
    _write_json(json_file, result.status)
    _finish(result.run, experiment)


def _finish(result: "RunResult", experiment: Path) -> None:
    """Exit status 3, and where to look, when something was set aside."""
    from ldas.pipeline.errors import count

    for name, outcome in result.outcomes.items():
        if not outcome.complete:
            blocks, cells = count(len(outcome.failures), "block"), count(outcome.cells_set_aside, "cell")
            _stderr().print(
                f"{name}: {blocks} and {cells} set aside; `ldas status {experiment}` says why",
                soft_wrap=True,
            )
    if not result.complete:
        raise typer.Exit(INCOMPLETE)


@app.command()
def status(
    experiment: Experiment,
    blocks: Annotated[bool, typer.Option("--blocks", help="A line for each block that is not done")] = False,
    json_file: JsonFile = None,
) -> None:
    """What is done, running, failed and set aside."""
    from ldas.pipeline.commands.status import block_table, experiment_status, last_cycle
    from ldas.pipeline.store.lease import holder

    config = experiment_of(experiment)
    rows = experiment_status(config)
    writer = holder(config.location)
    if writer is not None:
        Console().print(f"written by {writer}; {writer.outlook}", markup=False, highlight=False, soft_wrap=True)
    table = Table("run", "tasks", "done", "started", "failed", "cells set aside")
    for row in rows:
        numbers = (row.tasks, row.done, row.started, row.failed, row.cells_set_aside)
        table.add_row(row.name, *(str(number) for number in numbers))
    Console().print(table)
    if blocks:
        Console().print(block_table(rows))
    for row in rows:
        for cell in row.set_aside:
            Console().print(f"{row.name}, {cell}", markup=False, highlight=False, soft_wrap=True)
        if len(row.set_aside) < row.cells_set_aside:
            Console().print(f"{row.name}: {row.cells_set_aside - len(row.set_aside)} more cells are set aside")
        for block, message in row.failures.items():
            Console().print(f"{row.name}, block {block}: {message}", markup=False, highlight=False, soft_wrap=True)
    for line in last_cycle(config, datetime.now(UTC)):
        Console().print(line, markup=False, highlight=False, soft_wrap=True)
    _write_json(json_file, [row.as_dict() for row in rows])


@app.command()
def report(
    run_url: RunUrl,
    out: Annotated[Path | None, typer.Option(help="Folder (default: beside a local store)")] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run to compare, may be repeated (default: all)")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write report.md too, and print it")] = False,
    json_file: JsonFile = None,
) -> None:
    """Tables, figures and a page from any run."""
    from ldas.pipeline.report import write_report

    written = write_report(store_of(run_url)[0], out, json_file, markdown, experiments=experiment or None)
    if markdown:
        print(written.markdown)
    print(written.page)


@app.command()
def explore(
    run_url: RunUrl,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port (0: any that is free)")] = 5006,
    host: Annotated[str, typer.Option(help="Where to listen; another than the default lets others look")] = "127.0.0.1",
    origin: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="Name of the page behind a proxy, may be repeated")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page")] = True,
) -> None:
    """Look at any store in the browser: maps, differences and scores; the series of a cell."""
    from ldas.pipeline.commands.explore import explore_store

    explore_store(store_of(run_url)[0], host=host, port=port, origins=origin or (), browser=browser)


@app.command()
def export(
    run_url: RunUrl,
    out: Annotated[Path | None, typer.Option(help="Folder (default: beside a local store)")] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run, or truth; may be repeated (default: all runs)")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="By its name there or in the store; may be repeated")
    ] = None,
    start: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="First day")] = None,
    end: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Last day")] = None,
    every: Annotated[Literal["day", "month"], typer.Option(help="Days, or means over months")] = "day",
    names: Annotated[Literal["cmip", "alma", "surfex"], typer.Option(help="Names; surfex: all, as stored")] = "cmip",
    format: Annotated[Literal["netcdf", "zarr", "geotiff"], typer.Option(help="geotiff: a map")] = "netcdf",
    score: Annotated[str | None, typer.Option(metavar="NAME/SCORE", help="Maps of a score instead")] = None,
    json_file: JsonFile = None,
) -> None:
    """Files for other tools: CF NetCDF or Zarr on a regular grid, or GeoTIFF of means over the period."""
    from ldas.pipeline.commands.export import Request, export_scores, run_export

    location, config = store_of(run_url)
    if score is not None:
        written = export_scores(location, score, out, experiments=experiment or (), message=print)
    else:
        first, last = (None if day is None else day.date() for day in (start, end))
        chosen = tuple(experiment or ()), tuple(variable or ())
        request = Request(*chosen, first, last, every, names, format)
        written = run_export(location, request, out, metadata=config.metadata if config else None, message=print)
    _write_json(json_file, {"files": [str(path) for path in written]})


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the store and the report")] = Path("demo"),
    json_file: JsonFile = None,
) -> None:
    """A synthetic example from spin-up to report, in a few minutes and without any data."""
    from ldas.pipeline.commands.demo import EXPERIMENT, run_demo
    from ldas.pipeline.execution.progress import ProgressDisplay

    with ProgressDisplay() as display:
        result = run_demo(out, display, message=display.message)
    _write_json(json_file, {name: vars(outcome) for name, outcome in result.outcomes.items()})
    _finish(result, out / EXPERIMENT)


@app.command()
def site(
    case: Annotated[Path, typer.Argument(metavar="CASE.yaml", help="Site file")],
    out: Annotated[Path, typer.Option(help="NetCDF file to write")],
) -> None:
    """Run the land model at one site from its own forcing file."""
    from ldas.pipeline.site.run import run_site

    run_site(case, out)


@app.command()
def calibrate(
    case: Annotated[Path, typer.Argument(metavar="CASE.yaml", help="Calibration file")],
    out: Annotated[Path | None, typer.Option(help="Folder of the report (default: beside a local store)")] = None,
    json_file: JsonFile = None,
) -> None:
    """Calibrate parameters of a site with observed fluxes or soil moisture, or resume it."""
    from ldas.pipeline.commands.calibrate import run_calibration
    from ldas.pipeline.execution.progress import ProgressDisplay

    with ProgressDisplay() as display:
        result = run_calibration(case, display, message=display.message, out=out)
    outcomes = {name: vars(outcome) for name, outcome in result.outcomes.items()}
    _write_json(json_file, {"kept_back_reduction": result.kept_back_reduction, "rounds": outcomes})
    for name, outcome in result.outcomes.items():
        for block, text in outcome.failures.items():
            _stderr().print(f"{name}, batch {block}: {text}", markup=False, highlight=False, soft_wrap=True)
    if not result.complete:
        raise typer.Exit(INCOMPLETE)


@app.command()
def conformance(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Folder with cases.json")] = None,
    json_file: JsonFile = None,
    docs: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as Markdown")] = None,
) -> None:
    """Compare the land model with reference runs of SURFEX."""
    from ldas.pipeline.execution.cluster import usable_cores
    from ldas.pipeline.site.conformance import default_folder, run_conformance

    run_conformance(folder or default_folder(), json_file, docs, threads=usable_cores())


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="Source, or `inspect` to see what a file holds")],
    file: Annotated[Path | None, typer.Argument(help="Product file, for `inspect`")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration of the ingestion")] = None,
    json_file: JsonFile = None,
) -> None:
    """Bring product files into the store, or look into one: ingest SOURCE --config FILE, ingest inspect FILE."""
    from ldas.pipeline.errors import ConfigurationError
    from ldas.pipeline.ingest import inspect_file, run_ingest

    if source == "inspect":
        if file is None:
            raise ConfigurationError("ldas ingest inspect needs the file to look into")
        found = inspect_file(file)
        print(found)
        _write_json(json_file, json.loads(found.to_json()))
        if found.problem:
            raise typer.Exit(WRONG_INPUT)
        return
    if config is None or file is not None:
        raise ConfigurationError(f"ldas ingest {source} needs --config FILE, and no other argument")
    for written in run_ingest(source, config, message=print):
        print(written)


@app.command()
def recipe(
    experiment: Experiment,
    out: Annotated[Path | None, typer.Option(help="New folder (default: data_NAME beside the experiment)")] = None,
    region: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="SOUTH NORTH WEST EAST", help="Degrees (default: the cells that the experiment names)"),
    ] = None,
    step: Annotated[float, typer.Option(help="Size of the cells of --region, degrees")] = 0.25,
) -> None:
    """What to download for an experiment, from whom: requests, licences, sizes, and files to ingest it with."""
    from ldas.pipeline.commands.recipe import write_recipe

    config = experiment_of(experiment)
    folder = experiment.resolve().parent
    written = write_recipe(config, folder, out or folder / f"data_{config.name}", region, step)
    print(f"nothing was downloaded; begin with {written[0]}")


@app.command()
def train(
    table: Annotated[list[Path], typer.Option(help="NetCDF table of one cell; give it again for more cells")],
    train_window: Annotated[str, typer.Option("--train", help="Years of training")] = "2007-2013",
    test_window: Annotated[str, typer.Option("--test", help="Years of the test")] = "2014-2016",
    predictors: Annotated[str, typer.Option(help="Predictor names, separated by commas")] = "WG2,TG2,LAI",
    targets: Annotated[str, typer.Option(help="Columns to predict; several are of one network")] = "sigma40",
    aggregation: Annotated[Literal["daily", "overpass"], typer.Option(help="Daily means or single passes")] = "daily",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings with consecutive seeds")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="First seed")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs")] = 250,
    hidden: Annotated[str, typer.Option(help="Neurons of each hidden layer, separated by commas")] = "40",
    store: Annotated[str | None, typer.Option(help="Store to write the operator to")] = None,
    name: Annotated[str, typer.Option(help="Name of the operator in the store")] = "sigma40",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a stored operator of that name")] = False,
    keras: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a .keras file per cell")] = None,
    json_file: JsonFile = None,
) -> None:
    """Train neural observation operators from tables of collocated model states and observations."""
    from ldas.operators.options import NeuralOptions
    from ldas.pipeline.errors import ConfigurationError
    from ldas.pipeline.tables.train import run_training_command

    try:
        layers = tuple(int(word) for word in hidden.split(","))
    except ValueError:
        raise ConfigurationError(
            f"--hidden {hidden}: whole numbers separated by commas are expected, such as 40,40"
        ) from None
    found = run_training_command(
        table,
        train=train_window,
        test=test_window,
        predictors=tuple(word.strip() for word in predictors.split(",")),
        targets=tuple(word.strip() for word in targets.split(",")),
        aggregation=aggregation,
        options=NeuralOptions(hidden=layers, epochs=epochs, seed=seed),
        seeds=seeds,
        store=store,
        name=name,
        replace_stored=replace,
        keras_folder=keras,
        json_file=json_file,
    )
    print(found.to_text())


@app.command()
def analyse(
    table: Annotated[list[Path], typer.Option(help="NetCDF table of one cell; give it again for more cells")],
    train_window: Annotated[str, typer.Option("--train", help="Years of training")] = "2007-2013",
    test_window: Annotated[str, typer.Option("--test", help="Years that are analysed")] = "2014-2016",
    clay: Annotated[float, typer.Option(help="Clay fraction (0-1): scales the background error of WG2")] = 0.32,
    error: Annotated[float, typer.Option(help="Observation error (dB)")] = 0.33,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs")] = 250,
    json_file: JsonFile = None,
    figure: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw innovations and derivatives")] = None,
) -> None:
    """The filter's analysis step on real backscatter, with stored model states as background and no model between."""
    from ldas.operators.options import NeuralOptions
    from ldas.pipeline.tables.analyse import run_analysis_command

    found = run_analysis_command(
        table,
        train=train_window,
        test=test_window,
        clay=clay,
        observation_error=error,
        options=NeuralOptions(epochs=epochs, seed=seed),
        json_file=json_file,
        figure_file=figure,
    )
    print(found.to_text())


@app.command()
def twin(
    experiment: Experiment,
    url: Annotated[str | None, typer.Option(help="Another store than the experiment's")] = None,
    from_run: Annotated[str | None, typer.Option(help="Make observations of this run instead of a nature run")] = None,
    from_url: Annotated[str | None, typer.Option(help="Store of that run, where it is another one")] = None,
) -> None:
    """Make a twin without running the experiment: synthetic truth and observations, or those of an existing run."""
    from ldas.pipeline.commands.make_twin import make_twin
    from ldas.pipeline.execution.progress import ProgressDisplay
    from ldas.pipeline.settings.twin import TwinConfig

    config = experiment_of(experiment)
    settings = config.twin or TwinConfig()
    with ProgressDisplay() as display:
        result = make_twin(
            config, settings, display, url=url, from_run=from_run, from_url=from_url, message=display.message
        )
    _finish(result, experiment)


@app.command()
def schema(out: Annotated[Path | None, typer.Option(help="File to write")] = None) -> None:
    """JSON schema of the experiment file, for editors."""
    from ldas.pipeline.settings.experiment import json_schema

    if out is None:
        print(json_schema(), end="")
    else:
        _write_text(out, json_schema())
