# Everything a person needs to type. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup run mnist repro test lint format bench bench-ingestion bench-gpu bench-docs docs ui explore

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

setup: $(VENV)/.installed ## create .venv and install, with the versions that were tested

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("Python 3.11 to 3.13 is needed, not " + sys.version.split()[0] + "; say which: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

run: setup ## the digits experiment from data to report; nothing to download
	kedro run

mnist: setup ## MNIST, with clusters; kedro run --pipelines=mnist --env=official is the published code's, --env=paper the paper's
	kedro run --pipelines=mnist

repro: setup ## DVC: the locked results of digits and MNIST, made again where they are stale
	dvc repro reporting@digits reporting@mnist

test: setup ## the whole test suite, on all cores; needs no internet
	pytest --numprocesses=logical --dist=loadfile --no-loadscope-reorder

lint: setup ## formatting, lint, types
	ruff format --check .
	ruff check .
	mypy

format: setup ## let ruff repair what it can
	ruff format .
	ruff check --fix .

bench: setup ## our training loop beside a textbook loop and the arithmetic limit; ten quiet minutes
	python benchmarks/training.py

bench-ingestion: setup ## images a second and memory of ingestion; wants INFOGAN_MIRROR
	python benchmarks/ingestion.py

bench-gpu: setup ## our training loop on a GPU, recorded and not, in each precision, and several seeds at once
	python benchmarks/gpu.py

bench-docs: setup ## write docs/benchmarks.md from what bench and bench-ingestion found
	python benchmarks/page.py

docs: setup ## these pages, the README and the API as a site in build/site; a warning is an error
	python -m sphinx --builder=html --fail-on-warning --keep-going --quiet --doctree-dir=build/doctrees docs build/site

ui: setup ## MLflow's pages on 127.0.0.1:5000
	@echo 'http://127.0.0.1:5000/#/experiments: click "Model training" at the top left once, the browser remembers it'
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port 5000 \
		--backend-store-uri sqlite:///mlflow.db --workers 1

explore: setup ## what each code of a trained model does, on 127.0.0.1:5002
	infogan explore
