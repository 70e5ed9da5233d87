# Five words: install, demo, test, lint, bench. Each sets up what it needs in .venv.

SHELL := /bin/bash
# The preview engines' wheels (mediapipe) stop at Python 3.12.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: install demo test lint bench

install: .venv/installed-dev

demo: .venv/installed-demo
	$(BIN)/myspinbot-worker demo $(ARGS)

test: .venv/installed-dev
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks $(ARGS)

.venv/installed-%: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed (make PYTHON=/path/to/python)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
