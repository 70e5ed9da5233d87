# Seven words: install, demo, test, lint, bench, faults, faults-proof. Each sets up what it needs in .venv.

SHELL := /bin/bash
# The preview engines' wheels (mediapipe) stop at Python 3.12.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: install demo test lint bench faults faults-proof

install: .venv/installed-dev

demo: .venv/installed-demo
	$(BIN)/myspinbot-worker demo $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)

# Tests wait more than they work, so more of them run at one time than there are cores. Those of a file stay together, and
# files begin in their order: the long ones come first. (ARGS=-n0: one after the other.)
test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive myspinbot_worker examples scripts
ifdef AUDIT
	$(BIN)/python scripts/audit.py
else
	@echo "pip-audit skipped: it asks the package index about every installed package (make lint AUDIT=1)"
endif

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks $(ARGS)

faults: .venv/installed-dev
	$(BIN)/python -m tests.faults.campaign $(ARGS)

faults-proof: .venv/installed-dev
	$(BIN)/python -m tests.faults.proof $(ARGS)

.venv/installed-%: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed (make PYTHON=/path/to/python)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
