# make run | test | bench | down, from nothing but Python 3.11 and make.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# Marks of what is installed: what runs, and with it what checks.
RUNTIME := .venv/.runtime
DEV := .venv/.dev
# The demo: a graph and its input.
DEMO := deploy/examples/orders-report.yaml -i orders=@deploy/examples/data/orders.csv

.PHONY: run test lint types check-gen unit bench down gen lock venv
.DEFAULT_GOAL := run

run: $(RUNTIME)
	@$(BIN)/treadle up
	@$(BIN)/treadle run $(DEMO)
	@$(BIN)/treadle status

test: lint types check-gen unit

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mesh.codegen --protos-only
	$(BIN)/buf lint
	$(BIN)/lint-imports

types: $(DEV)
	$(BIN)/mypy

check-gen: $(DEV)
	$(BIN)/python -m mesh.codegen --check

unit: $(DEV)
	$(BIN)/pytest

bench: $(RUNTIME)
	@$(BIN)/python -m tests.benchmarks

down:
	@if [ -x $(BIN)/treadle ]; then $(BIN)/treadle down; fi

gen: $(DEV)
	$(BIN)/python -m mesh.codegen

venv: $(RUNTIME)

# The locks hold hashes and no registry: any mirror with the same files will do.
lock: $(DEV)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build --group dev --constraint requirements.lock --output-file requirements-dev.lock

.venv/pyvenv.cfg:
	@[ -n "$(PYTHON)" ] || { echo "Treadle needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@# Half a venv would pass for a whole one the next time.
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "No virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(RUNTIME): requirements.lock pyproject.toml | .venv/pyvenv.cfg
	@echo "Installing what Treadle runs on (once) ..."
	@$(PIP) --require-hashes --requirement requirements.lock
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | .venv/pyvenv.cfg
	@echo "Installing what Treadle is checked with (once) ..."
	@$(PIP) --require-hashes --requirement requirements-dev.lock
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@ $(RUNTIME)
