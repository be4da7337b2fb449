# mmela: `make demo` and `make test` set the environment up if it is missing.
#
#   VENV       folder of the environment           (default .venv)
#   PYTHON     Python that creates it, >= 3.10     (default python3)
#   PROCESSES  processes of the tests, one core each (default 2)
#   TORCH      requirement for torch, e.g. torch==2.12.1 (default: requirements/torch.txt)
#
# PYTHON and TORCH are remembered until another value is given, or until `make clean`.
# MMELA_CACHE= sets the folder that keeps the wheel of mmcv's compiled ops (default ~/.cache/mmela).

VENV ?= .venv
PYTHON ?= python3
TORCH ?=
PROCESSES ?= 2

BIN = $(VENV)/bin
CHOSEN = $(filter command environment,$(firstword $(origin PYTHON)))
PYTEST = OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest -n $(PROCESSES)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-core test-long test-installer lint format tables matrix clean

help:
	@echo 'make demo            train, test and draw an ELA detector and segmenter on generated scenes'
	@echo 'make test            the tests, 3 minutes'
	@echo 'make test-core       those of the longer tests that CI runs, 5 minutes'
	@echo 'make test-long       all longer tests'
	@echo 'make test-installer  the tests of `make setup` itself'
	@echo 'make lint            ruff and mypy'
	@echo 'make format          format with ruff'
	@echo 'make tables          write the results of benchmarks/accuracy into README.md and configs'
	@echo 'make matrix          try the README in other environments: Python, torch, original stack'
	@echo 'make setup           only the environment (all of the above do it themselves)'
	@echo 'make clean           delete the environment and build files; keeps work_dirs, data and caches'

setup:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "setup: '$(PYTHON)' not found; install Python 3.10 or newer, or choose one with PYTHON=" >&2; exit 2; }
	@'$(PYTHON)' tools/setup_env --venv '$(VENV)' --torch '$(TORCH)' $(if $(CHOSEN),--python-chosen)

demo: setup
	'$(BIN)/python' tools/demo.py

test: setup
	$(PYTEST)

# pytest exits with 5 if a marker selects no test, which is no failure here.
test-core: setup
	$(PYTEST) -m 'long and core' || [ $$? -eq 5 ]

test-long: setup
	$(PYTEST) -m long || [ $$? -eq 5 ]

test-installer: setup
	$(PYTEST) -m installer || [ $$? -eq 5 ]

lint: setup
	'$(BIN)/ruff' check .
	'$(BIN)/ruff' format --check .
	'$(BIN)/mypy'

format: setup
	'$(BIN)/ruff' check --fix .
	'$(BIN)/ruff' format .

# MATRIX='original between' names some of the environments; see tools/matrix.py.
matrix: setup
	'$(BIN)/python' tools/matrix.py $(MATRIX)

tables: setup
	'$(BIN)/python' -m benchmarks.accuracy_tables

clean:
	@'$(PYTHON)' tools/setup_env --venv '$(VENV)' --remove
	rm -rf build dist *.egg-info mmela/.mim .pytest_cache .ruff_cache .mypy_cache
	find mmela benchmarks demo tools configs tests -name __pycache__ -prune -exec rm -rf {} +
