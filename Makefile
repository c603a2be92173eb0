# Instep: `make demo` shows the main job, `make test` proves it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
SECONDS ?= 300

.PHONY: golden demo test lint types layers unit soak bench clean

demo: $(VENV)/.runtime
	@$(BIN)/python examples/demo.py

test: lint types layers unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS)

# Writes the expected results of rewriting Tekton's objects anew; then read the diff.
golden: $(VENV)/.dev
	INSTEP_GOLDEN=1 $(BIN)/python -m pytest tests/tekton/test_golden.py

# Searches schedules of parallel writers for as long as SECONDS for each scene; prints how many it tried.
soak: $(VENV)/.dev
	INSTEP_SOAK=$(SECONDS) $(BIN)/python -m pytest -n $(JOBS) -rA tests/model

bench: $(VENV)/.dev
	$(BIN)/python -m bench

$(VENV)/.runtime: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
