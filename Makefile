# Instep: `make demo` shows the main job, `make test` proves it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 3
SECONDS ?= 300
ifndef INSTEP_SEED
INSTEP_SEED := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
endif

.PHONY: golden demo test lint types layers unit soak bench lock audit clean

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

# A plain run tries a fixed share of the long searches, which takes two idle cores ten minutes. INSTEP_FULL=1, as in
# .ci/run, tries all. JOBS is one more than those cores, since some tests wait. A job that is done takes work of another.
unit: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)

# Writes the expected results of rewriting Tekton's objects anew; then read the diff.
golden: $(VENV)/.dev
	INSTEP_GOLDEN=1 $(BIN)/python -m pytest tests/tekton/test_golden.py

# Looks for what breaks the guarantees: schedules of parallel writers, random faults, bytes that a reader answers wrongly,
# races with a process that swaps directories for links, SECONDS for each search; hostile images in every order of their
# layers; faults at every single call; 2,000 pushes and pulls on each kind of store. On two idle cores the searches take
# 20 minutes for each 60 of SECONDS, the rest about half an hour. Prints how much was tried, and from which seeds: each
# time other ones, unless INSTEP_SEED says where to begin.
soak: $(VENV)/.dev
	@echo "soak: the first seed is INSTEP_SEED=$(INSTEP_SEED)"
	INSTEP_SEED=$(INSTEP_SEED) INSTEP_SOAK=$(SECONDS) $(BIN)/python -m pytest -n $(JOBS) -rA -m soak

bench: $(VENV)/.dev
	$(BIN)/python -m bench

# Pins what the images install, and what .ci/run does. Use the oldest Python that is supported: what later ones need is
# part of what it needs.
PIN := CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras \
  --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

lock: $(VENV)/.dev
	$(PIN) --output-file images/agent/requirements.lock pyproject.toml
	$(PIN) --extra controller --output-file images/agent/controller.lock pyproject.toml
	$(PIN) --only-build-deps --build-deps-for wheel --output-file images/agent/build.lock pyproject.toml
	$(PIN) --extra controller --extra dev --output-file .ci/dev.lock pyproject.toml

# Not part of `make test`: it asks the package index, which may know nothing of vulnerabilities, or more tomorrow.
audit: $(VENV)/.dev
	$(BIN)/python .ci/audit

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# With LOCKED=1, as in .ci/run, exactly what .ci/dev.lock pins is installed; else the newest that pyproject.toml allows.
ifdef LOCKED
$(VENV)/.locked: pyproject.toml .ci/dev.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement .ci/dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.runtime $(VENV)/.dev: $(VENV)/.locked
	touch $@
else
$(VENV)/.runtime: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[controller,dev]'
	touch $@
endif

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .bench_cache
