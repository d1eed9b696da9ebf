# Two commands on a fresh machine with Python 3.11, 3.12 or 3.13 and make: `make demo` and `make test`.
# Each makes the environment in .venv from the locked requirements first, when it is not there or the lock has changed.

SHELL := /bin/bash
VENV := .venv
LOCK := requirements/test.txt
PYTHON ?=
OUT ?= demo
TEST_WORKERS ?= 2
PYTEST = $(VENV)/bin/python -m pytest -n $(TEST_WORKERS) --dist loadfile --durations=15
# One thread each for BLAS, OpenMP and TensorFlow: the tests run side by side.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export TF_CPP_MIN_LOG_LEVEL := 2
# Libraries are compiled to bytecode by the first process that imports them, also where the machine's settings forbid it:
# otherwise each of the many processes of the tests compiles TensorFlow and the rest again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help env demo test lint format types unit kernel docs lock faults clean

help:
	@echo "make demo [OUT=folder]   a synthetic example from spin-up to report"
	@echo "make test                lint, format, types and all tests (what CI runs)"
	@echo "make env [PYTHON=...]    only the environment, in $(VENV)"
	@echo "make lint|format|types|unit|kernel|docs|lock|faults|clean   one part each"

env:
	@bash requirements/environment.sh "$(VENV)" "$(LOCK)" "$(PYTHON)"

demo: env
	$(VENV)/bin/ldas demo --out "$(OUT)"

# Types and the compilation of the land model keep one core busy each: side by side.
test: lint
	$(MAKE) --jobs=2 types kernel
	$(PYTEST)

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

# Killed workers, schedulers and runs at many random moments (a few of them are in `make test` too).
faults: env
	LDAS_FAULT_MOMENTS=20 $(VENV)/bin/python -m pytest -m faults -s tests/pipeline

# Pins every version again; the files work for Python 3.11 to 3.13 and name no registry.
lock: env
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-header \
		--extra test --extra docs --extra cluster --extra ingest --extra icechunk pyproject.toml --output-file requirements/test.txt
	$(VENV)/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-header \
		--extra cluster --extra ingest --extra icechunk --constraint requirements/test.txt pyproject.toml --output-file requirements/run.txt

clean:
	rm -rf site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
