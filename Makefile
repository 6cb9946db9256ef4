# `make help` lists what there is. Tools live in .venv; uv is used where it is installed, and put into
# .venv where it is not.

PYTHON ?= python3
BIN := .venv/bin
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)

# Scripts and tests call uv, cookiecutter and cruft by name. Exported here, so that each recipe is one
# command without a shell: a TERM to make then reaches it.
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test test-hosts check matrix system benchmark install clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install  ## generate a project, start it, and watch orders go through its queues
	@$(BIN)/python scripts/demo.py $(if $(PORT),--port $(PORT))

test: install  ## run all tests of the template; T=path or T="-k name" narrows them
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadscope $(T)

test-hosts: install  ## run the playbooks on Debian hosts made for it; needs root; T= narrows; SHORT=1 takes a part
	@$(if $(SHORT),DEPLOYS=1 HOSTS_STEPS=gate) $(BIN)/python -m pytest -m "hosts$(if $(SHORT), and not long)" $(or $(T),tests/hosts)

check: install  ## lint and type-check hooks, scripts and tests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

matrix: install  ## test a generated project on each Python here, and on the next Django
	@$(BIN)/python scripts/matrix.py

system: install  ## test a generated project on the system's own PostgreSQL and Redis
	@$(BIN)/python scripts/matrix.py --system-servers

benchmark: install  ## measure; B=development (the default), dispatch, checks, jobs, admin, probes, witnesses; M=one measure
	@$(BIN)/python benchmarks/$(or $(B),development).py $(M)

clean:  ## delete what these commands made
	rm -rf build .venv .*_cache

install: .venv/installed

.venv/installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "error: Python cannot make environments: apt-get install python3-venv"; exit 1; }
	@command -v "$(UV)" >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(UV) pip install --quiet --python $(BIN)/python --group dev
	@touch $@
