# Each target first builds .venv beside this file from constraints.txt; nothing else is installed anywhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: test prove lint demo clean

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
	$(BIN)/python -m pytest -m "not prove" --cov --cov-report=term

prove: $(STAMP)
	$(BIN)/python -m pytest -m "prove or not prove" --verbose

demo: $(STAMP)
	$(BIN)/arsync demo

clean:
	rm -rf $(VENV) build *.egg-info
