# Commands of the project; `make help` lists them. Requires only Python 3.11 to 3.13.

VENV ?= .venv
PYTHON ?=
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
JOBS ?= 3

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq --require-hashes
PYTEST := $(BIN)/python -m pytest $(if $(JOBS),-n $(JOBS) --dist worksteal)
RECOVERY := tests/acceptance/test_chaos_*.py tests/acceptance/test_recovery_*.py
RECOVERY_ON_POSTGRESQL := tests/acceptance/test_recovery_database.py tests/acceptance/test_recovery_workers.py
PYTHONS := 3.11 3.13
ON_EVERY_PYTHON := $(wildcard tests/unit/test_context.py tests/unit/test_endings.py tests/unit/test_child_*.py \
    tests/unit/test_experiments_*.py tests/integration/test_child*.py tests/integration/test_output_*.py \
    tests/integration/test_stored_values.py)
LOCK := uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help run install test test-pythons test-on-this-python test-recovery check audit lock bench bench-peers screenshots clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  make run PORT=8080 ARGS="--workers 2 --no-demo"   more: .venv/bin/python manage.py up --help'

run: $(VENV)/.installed ## Start everything on this machine and show a first experiment
	@$(BIN)/python manage.py up --host $(HOST) --port $(PORT) $(ARGS)

install: $(VENV)/.installed ## Create the environment with the pinned requirements

test: $(VENV)/.installed-dev ## Run the tests on SQLite and, if available, on PostgreSQL (about 25 minutes)
	$(PYTEST) $(ARGS)
	$(PYTEST) --database=postgresql tests/integration $(RECOVERY_ON_POSTGRESQL) $(ARGS)
	@$(MAKE) --no-print-directory test-pythons

test-pythons: $(VENV)/.installed-dev ## Run only the tests of what a run may do, on the oldest and newest supported Python
	@for version in $(PYTHONS); do \
	    [ "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" != "$$version" ] || continue; \
	    if python=$$(.ci/find-python "$$version"); then \
	        $(MAKE) --no-print-directory VENV=$(VENV)-$$version PYTHON="$$python" test-on-this-python || exit 1; \
	    elif [ "$$ATHANOR_REQUIRE_SERVICES" = 1 ]; then exit 1; \
	    else echo "make: skipped the tests on Python $$version."; fi; \
	done

test-on-this-python: $(VENV)/.installed-dev
	$(PYTEST) $(ON_EVERY_PYTHON) $(ARGS)

test-recovery: $(VENV)/.installed-dev ## Run only the tests that kill, freeze and starve a whole stack
	TEST_ALL_CAMPAIGNS=1 $(PYTEST) $(RECOVERY) $(ARGS)
	$(PYTEST) --database=postgresql $(RECOVERY_ON_POSTGRESQL) $(ARGS)

check: $(VENV)/.installed-dev ## Lint, types, import rules, security rules, Django's checks, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --configfile pyproject.toml --recursive --quiet athanor experiments runs
	install -d -m 700 $(VENV)/check
	ATHANOR_VAR=$(CURDIR)/$(VENV)/check $(BIN)/python manage.py check --fail-level WARNING
	ATHANOR_VAR=$(CURDIR)/$(VENV)/check $(BIN)/python manage.py makemigrations --check --dry-run

audit: $(VENV)/.installed-dev ## Check the pinned packages for known vulnerabilities
	$(BIN)/python .ci/audit $(BIN)/pip-audit $(wildcard requirements*.txt)

lock: ## Pin the requirements again, with hashes, from the .in files (needs uv)
	$(LOCK) --upgrade requirements.in -o requirements.txt
	$(LOCK) --upgrade requirements-examples.in -o requirements-examples.txt
	$(LOCK) --upgrade requirements-sign-in.in -o requirements-sign-in.txt
	$(LOCK) --upgrade requirements-dev.in -o requirements-dev.txt

bench: $(VENV)/.installed-dev ## Measure the README's figures (a few minutes)
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(VENV)/.installed-dev ## Measure them beside RQ and Celery, installed below var/
	$(BIN)/python -m benchmarks.peers.install
	$(BIN)/python -m benchmarks --peers $(ARGS)

screenshots: $(VENV)/.installed-dev ## Take the documents' screenshots again from real runs (needs chromium)
	$(BIN)/python docs/images/refresh.py

clean: ## Remove the environment and all caches; keep data in var/
	rm -rf $(VENV) $(PYTHONS:%=$(VENV)-%) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@[ -w . ] || { echo "make: cannot write to $(CURDIR). Clone Athanor into a writable folder." >&2; exit 2; }
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
	    "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || continue; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null || { without=$$python; continue; }; \
	    echo "Creating the environment $(VENV) with $$("$$python" --version)."; \
	    "$$python" -m venv $(VENV) && touch $@ && exit 0; \
	done; \
	if [ -n "$$without" ]; then \
	    echo "make: $$without cannot create environments. Install its venv module (Debian, Ubuntu: apt install $$without-venv)." >&2; \
	else \
	    echo "make: no Python 3.11, 3.12 or 3.13 on PATH. Install one, or set it: make run PYTHON=/path/to/python3.12" >&2; \
	fi; exit 2

$(VENV)/.installed: $(VENV)/.made requirements.txt requirements-examples.txt
	@echo "Installing the pinned requirements (once; about a minute)."
	@$(PIP) -r requirements.txt -r requirements-examples.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-sign-in.txt requirements-dev.txt
	@echo "Installing the requirements of the tests."
	@$(PIP) -r requirements.txt -r requirements-examples.txt -r requirements-sign-in.txt -r requirements-dev.txt
	@touch $@
