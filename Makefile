# mmela: `make demo` and `make test` do the whole set-up themselves when it is missing.
#
#   VENV       folder of the environment           (default .venv)
#   PYTHON     the Python to make it with, >= 3.10 (default python3)
#   PROCESSES  how many run the tests, one core each (default 2)
#   TORCH      requirement for torch, e.g. torch==2.12.1 (default: requirements/torch.txt)
#
# A PYTHON or TORCH that was given once holds until another is given, or until `make clean`.
# MMELA_CACHE= names the folder that keeps the wheel of mmcv's compiled ops (default ~/.cache/mmela).

VENV ?= .venv
PYTHON ?= python3
TORCH ?=
PROCESSES ?= 2

BIN = $(VENV)/bin
CHOSEN = $(filter command environment,$(firstword $(origin PYTHON)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint format clean

help:
	@echo 'make demo       train, test and draw an ELA detector and segmenter on generated scenes'
	@echo 'make test       the tests, 10 minutes at most'
	@echo 'make test-long  the tests that take longer'
	@echo 'make lint       ruff and mypy'
	@echo 'make format     ruff, writing'
	@echo 'make setup      the environment alone (the above do it themselves)'
	@echo 'make clean      delete the environment and what was built; keeps work_dirs, data and caches'

setup:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "setup: there is no '$(PYTHON)': install Python 3.10 or newer, or name one with PYTHON=" >&2; exit 2; }
	@'$(PYTHON)' tools/setup_env --venv '$(VENV)' --torch '$(TORCH)' $(if $(CHOSEN),--python-chosen)

demo: setup
	'$(BIN)/python' tools/demo.py

test: setup
	OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest -n $(PROCESSES)

test-long: setup
	OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest -m long -n $(PROCESSES)

lint: setup
	'$(BIN)/ruff' check .
	'$(BIN)/ruff' format --check .
	'$(BIN)/mypy'

format: setup
	'$(BIN)/ruff' check --fix .
	'$(BIN)/ruff' format .

clean:
	@'$(PYTHON)' tools/setup_env --venv '$(VENV)' --remove
	rm -rf build dist *.egg-info mmela/.mim .pytest_cache .ruff_cache .mypy_cache
	find mmela tools configs tests -name __pycache__ -prune -exec rm -rf {} +
