# Everything works from a bare checkout: the first target that needs it makes .venv with pinned packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Most of a test's time is starts and imports, so two at a time; see tests/conftest.py for which may not meet.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo check format test test-all faults bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with pinned packages

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	touch $@

demo: $(STAMP) ## search the embedded demo pairs with asha (half a minute to a minute on 2 cores)
	$(BIN)/python -m tune search --search asha

check: $(STAMP) ## ruff, mypy and the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(STAMP) ## the tests, offline, about 12 minutes on 2 cores
	$(PYTEST) --durations=10 -m 'not slow and not gpu'

test-all: $(STAMP) ## all tests that need no GPU
	$(PYTEST) -m 'not gpu'

faults: $(STAMP) ## disturb 200 searches, resume and compare them (some hours); output goes to results/faults.md
	$(BIN)/python -m tests.faults

bench: $(STAMP) ## the benchmarks; output goes to results/benchmarks
	$(BIN)/python -m tests.benchmarks

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
