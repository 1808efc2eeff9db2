# edgeagent: `make demo` shows it, `make test` proves it. Both set up what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup servers etcd browser demo test lint format soak faults fleet bench docs reference clean

help:
	@echo "make demo   a rendered packaging line: models swapped under it, bad ones refused, rolled back;"
	@echo "            DEMO_ARGS=--stay leaves it running, to play with its page"
	@echo "make test   lint, types, import contracts, and all tests (with a real etcd, ZooKeeper and mosquitto)"
	@echo "make lint   ruff, mypy --strict, import-linter, sizes and words"
	@echo "make soak   hundreds of swaps under load: nothing lost, nothing leaked; SOAK_ARGS=\"--swaps 20\" for fewer"
	@echo "make faults versions that load well and judge wrongly: which guard catches each, and when; FAULTS_ARGS=\"--quick\""
	@echo "make fleet  2,000 nodes that only pretend to infer, on a real etcd: roll-outs, aborts, storms; FLEET_ARGS=\"--quick\""
	@echo "make bench  figures, side by side"
	@echo "make docs   the pages as a site, in build/site; fails for a dead link"
	@echo "make reference  docs/reference, written from the code"
	@echo "make clean  remove what make has made"

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edgeagent needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo "edgeagent and its packages go into $(VENV): some minutes, most of them for torch"
	@$(BIN)/python tools/install.py --upgrade pip
	@$(BIN)/python tools/install.py --editable '.[dev]'
	@touch $(STAMP)

# What the tests talk to. On Debian and Ubuntu it is installed where that is allowed.
servers:
	@tools/servers.sh etcd zookeeper mosquitto browser prometheus nginx

etcd browser:
	@tools/servers.sh $@

demo: setup
	$(BIN)/edgeagent demo $(DEMO_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check_house.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Both wait for the network most of the time.
test:
	@$(MAKE) --no-print-directory -j2 setup servers
	@$(MAKE) --no-print-directory lint
	$(BIN)/python tools/run_tests.py

soak: setup servers
	$(BIN)/python -m bench.soak $(SOAK_ARGS)
	$(BIN)/python -m bench.soak_api
	$(BIN)/python -m bench.soak_kills
	$(BIN)/python -m bench.soak_mutations
	$(BIN)/python -m bench.soak_etcd
	EDGEAGENT_TEST_DEPTH=20 $(BIN)/pytest -k "invariants or interleavings" tests/unit
	$(BIN)/pytest -m soak tests/oracle tests/e2e tests/integration/test_coordinator.py
	$(BIN)/pytest -m soak -s tests/integration/test_camera_soak.py

faults: setup etcd
	$(BIN)/python -m bench.faults $(FAULTS_ARGS)

fleet: setup etcd
	$(BIN)/python -m bench.fleet $(FLEET_ARGS)

bench: setup
	$(BIN)/python -m bench.run

docs: setup
	@$(BIN)/python -c 'import furo, myst_parser, sphinx' 2>/dev/null || $(BIN)/python tools/install.py --editable '.[docs]'
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs/site -d build/site-cache . build/site
	@echo "build/site/index.html"

reference: setup
	$(BIN)/python tools/reference.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache demo-run bench-out
