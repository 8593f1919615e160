# `make` prints this help. Anything longer than five lines is a script under scripts/.

# Compiled modules matter: without them every new process compiles its libraries again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON := .venv/bin/python
# What `make test` runs, as a pytest marker expression. Where it names integration, the default tests are left out.
MARKS ?= not gpu and not e2e and not soak
# Processes that run tests; a file's tests stay together and in order.
WORKERS ?= 2
PYTEST := $(PYTHON) -m pytest -q --dist loadfile
DEFAULT_TESTS := OMP_NUM_THREADS=1 $(PYTEST) -n $(WORKERS)
# One more than for the others: these often wait, for processes, disks and grace periods.
INTEGRATION_WORKERS ?= $(shell echo $$(($(WORKERS) + 1)))
# Trainings compute with as many threads as users' do; where two meet, those that wait leave the core to the other.
# In the order of their names: by the number of tests, the guide, one test of minutes, would come last and alone.
INTEGRATION_TESTS := OMP_WAIT_POLICY=PASSIVE $(PYTEST) -n $(INTEGRATION_WORKERS) -rs --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install lock protos format lint check servers test sdks e2e soak demo up bench ui wheel clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

install:  ## Put the locked packages and Tuneyard into .venv
	@scripts/install

lock:  ## Resolve pyproject.toml into requirements.lock again (UPGRADE=1 takes newer versions)
	@scripts/lock $(if $(UPGRADE),--upgrade)

protos: install  ## Generate protos/gen and clients/go/tuneyardv1 from protos/tuneyard/v1
	@$(PYTHON) scripts/protos.py

format: install  ## Format the code and the protos, and fix what can be fixed
	@.venv/bin/ruff format --quiet . && .venv/bin/ruff check --quiet --fix . && $(PYTHON) scripts/protos.py --format

lint: install  ## The static checks alone
	@scripts/lint

check: lint  ## Static checks and the default tests (no network, no GPU)
	@$(DEFAULT_TESTS)

servers: install  ## Get the servers that integration tests need: PostgreSQL, MinIO
	@$(PYTHON) -m tests.support.servers prepare

test: servers  ## Default and integration tests (REQUIRE_SERVERS=1: a missing server is an error)
	@$(if $(findstring integration,$(MARKS)),,$(DEFAULT_TESTS))
	@$(INTEGRATION_TESTS) -m "integration and ($(MARKS))"

sdks: install  ## Build the SDKs of other languages, and test them against a real gateway
	@$(PYTHON) -m pytest -q -rs -m integration tests/integration/test_sdk_*.py

e2e: install  ## Drive the web UI in a real browser; screenshots in build/screenshots (QUICK=1: each page in one look)
	@REQUIRE_SERVERS=$${REQUIRE_SERVERS:-1} bash tests/e2e/install
	@REQUIRE_SERVERS=$${REQUIRE_SERVERS:-1} $(PYTHON) -m pytest -q -rs -m "e2e$(if $(QUICK), and not at_length)" tests/e2e

soak: servers  ## The kill loops at length
	@$(PYTHON) -m pytest -q -m soak --timeout 0

demo: install  ## Train a real image classifier through the whole system and keep the result in demo-output/
	@$(PYTHON) scripts/demo.py

up: install  ## Start every service on this machine, with the web UI where it can be built (ARGS="--data-dir DIR …")
	@bash scripts/webui current || echo "make up: the web UI could not be built; the rest works without it" >&2
	@.venv/bin/tuneyard up $(ARGS)

bench: servers  ## Measure, print a table, write build/bench.json
	@$(PYTHON) tests/benchmarks/run.py

ui: install  ## Build the web UI (takes Node.js from PyPI where the machine has none)
	@bash scripts/webui

wheel: ui  ## Build the wheel, with the web UI in it, into dist/
	@$(PYTHON) -m hatchling build -t wheel && $(PYTHON) scripts/check_wheel.py dist/*.whl

clean:  ## Remove what was built here (.venv stays)
	@rm -rf build dist demo-output clients/tuneyard/web/static clients/typescript/dist clients/typescript/src/gen .hypothesis
	@find services clients protos tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
