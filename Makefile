# Instep: `make demo` shows the main job, `make test` proves it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
SECONDS ?= 300

.PHONY: golden demo test lint types layers unit soak bench lock clean

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
	$(BIN)/python -m pytest -n $(JOBS) $(TESTS)

# Writes the expected results of rewriting Tekton's objects anew; then read the diff.
golden: $(VENV)/.dev
	INSTEP_GOLDEN=1 $(BIN)/python -m pytest tests/tekton/test_golden.py

# Searches schedules of parallel writers, and bytes that a reader answers wrongly, for as long as SECONDS for each scene
# and each reader, and prints how many it tried; races with a process that swaps directories for links for as long; pulls
# every hostile image in every order of its layers.
soak: $(VENV)/.dev
	INSTEP_SOAK=$(SECONDS) $(BIN)/python -m pytest -n $(JOBS) -rA tests/model tests/fuzz \
		tests/sync/test_hostile_images.py tests/sync/test_hostile_races.py

bench: $(VENV)/.dev
	$(BIN)/python -m bench

# Pins what the image installs, with every extra but dev. Use the oldest Python that is supported: what later ones need
# is part of what it needs.
PIN := CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras \
  --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

lock: $(VENV)/.dev
	$(PIN) --extra tekton --output-file images/agent/requirements.lock pyproject.toml
	$(PIN) --extra controller --output-file images/agent/controller.lock pyproject.toml
	$(PIN) --only-build-deps --build-deps-for wheel --output-file images/agent/build.lock pyproject.toml

$(VENV)/.runtime: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .bench_cache
