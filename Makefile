PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONSTRAINTS ?= constraints.txt
DEMO ?= nndistill-demo

# One process per core; a test that hangs ends its process, with the stacks of all threads.
IN_PROCESSES := --numprocesses auto --maxprocesses 4 --dist worksteal \
	-o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

# Python 3.12 and later count covered lines with sys.monitoring; tracing each call takes about a third more time.
coverage_core = $(shell $(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')

.PHONY: demo test test-without-training test-slow test-gpu check lint types docs prose benchmark clean

demo: $(VENV)/.runtime  ## the main job on synthetic data; minutes on two cores
	$(BIN)/nndistill demo --workspace $(DEMO)

test: $(VENV)/.dev  ## all tests but the slow ones, with their coverage; one process per core, of one thread each
	OMP_NUM_THREADS=1 COVERAGE_CORE=$(coverage_core) \
		$(BIN)/pytest -m "not slow" --cov $(IN_PROCESSES)

test-without-training: $(VENV)/.dev  ## what depends on versions of Python and packages rather than on nnU-Net's training
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not training" $(IN_PROCESSES)

test-slow: $(VENV)/.dev  ## the tests that take minutes each
	$(BIN)/pytest -m slow

test-gpu: $(if $(GPU_PYTHON),,$(VENV)/.dev)  ## what needs CUDA; GPU_PYTHON=python3 where nothing can be installed
	OMP_NUM_THREADS=2 $(or $(GPU_PYTHON),$(BIN)/python) -m pytest -v --tb=short -m gpu tests/gpu --numprocesses 8 --dist loadfile

check: lint types prose docs  ## what does not need to run the code

lint: $(VENV)/.dev  ## style, and imports in one direction
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

prose: $(VENV)/.dev  ## spelling, style (styles/nnDistill) and links of README, documentation, help texts and messages
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs src
	$(BIN)/pytest --quiet --durations=0 tests/test_prose.py tests/test_links.py

docs: $(VENV)/.dev  ## builds the pages; a broken link, anchor or image fails
	$(BIN)/mkdocs build --strict --quiet

# As the nndistill command does (src/nndistill/idle_threads.py).
benchmark: export OMP_WAIT_POLICY ?= PASSIVE
benchmark: export GOMP_SPINCOUNT ?= 5000
benchmark: $(VENV)/.dev  ## tables and JSON of every benchmark
	mkdir -p benchmarks/results
	for name in projection methods training_step teacher_engine evaluation preparation deployment; do \
		$(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json || exit 1; \
	done
	$(BIN)/python benchmarks/idle_threads.py --rounds 1 --steps 9 --json benchmarks/results/idle_threads.json

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nnDistill into $(VENV), once"
	$(PIP) install --constraint $(CONSTRAINTS) --editable '.[export]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nnDistill and its tools into $(VENV), once"
	$(PIP) install --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) site .coverage .import_linter_cache .pytest_cache .mypy_cache .ruff_cache
