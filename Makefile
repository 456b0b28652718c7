# Each target first builds .venv beside this file from constraints.txt; nothing else is installed anywhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two processes run the tests; what shares a server stays in one of them.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --durations 30
# The benchmark's peers need other versions of the same things.
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed

.PHONY: test test-long coverage prove lint demo bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[demo,dev]"
	touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(PYTEST) -m "not prove and not long"

test-long: $(STAMP)
	$(PYTEST) -m "long and not prove"

coverage: $(STAMP)
	$(PYTEST) -m "not prove and not long" --cov --cov-report=term

prove: $(STAMP)
	$(BIN)/python -m pytest -m "prove or not prove" --verbose

demo: $(STAMP)
	$(BIN)/arsync demo

$(PEERS_STAMP): benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers/requirements.txt
	touch $(PEERS_STAMP)

bench: $(STAMP) $(PEERS_STAMP)
	$(BIN)/python -m benchmarks ingest --json

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info
