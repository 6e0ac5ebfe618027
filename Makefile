# Two commands: `make run` and `make test`. Both set up what they need first; see README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENT := src/bits/web/client
LOCALE := src/bits/web/locale
ARGS ?=

# What the compiled modules and the bundled front end are made from: a change here means to build again.
EXTENSIONS := setup.py $(wildcard src/bits/*.pyx src/bits/*.pxd)
COMPILED := $(patsubst src/bits/%.pyx,bits.%,$(wildcard src/bits/_*.pyx))
FRONT_END := $(CLIENT)/build_backend.py $(CLIENT)/build.mjs $(CLIENT)/package-lock.json $(filter-out %.test.ts,$(wildcard $(CLIENT)/*.ts)) $(wildcard $(CLIENT)/*.css $(CLIENT)/*.svg)

.DEFAULT_GOAL := help
.PHONY: help run build board test check bench gates bench-peers bench-million bench-chain bench-page format messages clean

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

run: build ## Set up, create the database, start the server (more flags: make run ARGS="--web-port 8080")
	@exec $(BIN)/bits serve $(ARGS)

build: $(VENV)/built ## Set up the environment without starting anything

board: $(VENV)/built ## The board in an emulator, in this terminal, connected to the server that runs here
	@PYTHON=$(PYTHON) scripts/system.sh board
	@$(MAKE) --silent -C firmware
	@$(BIN)/python scripts/board.py $(ARGS)

test: $(VENV)/built-dev ## Set up and run all tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(VENV)/built-dev ## Format, lint, types, stubs, front end: what CI runs besides the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=src $(BIN)/python -m mypy.stubtest --allowlist tests/stubtest_allowlist.txt --ignore-unused-allowlist $(COMPILED)
	$(BIN)/python $(CLIENT)/build_backend.py npm run --silent check
	$(BIN)/python $(CLIENT)/build_backend.py npm test --silent

bench: $(VENV)/built-dev ## Time the parts, each beside its naive baseline (ARGS="-k proto")
	$(BIN)/python -m pytest benchmarks -o python_files="bench_*.py" --benchmark-columns=min,median,ops,rounds --benchmark-sort=min $(ARGS)

gates: $(VENV)/built-dev ## Record this machine's instruction counts, for the gates among the tests
	$(BIN)/python -c "import json; from tests.test_gates import *; known = json.loads(RECORD.read_text()) if RECORD.exists() else {}; known[environment()] = {case: round(instructions(case), 1) for case in CASES}; RECORD.write_text(json.dumps(known, indent=2, sort_keys=True) + chr(10)); print(RECORD.read_text())"

bench-peers: $(VENV)/built-dev ## Measure BITS, its peers and a C floor side by side (ARGS="--rounds 1 --clients 2000")
	$(BIN)/python benchmarks/peers/run.py $(ARGS)

bench-million: $(VENV)/built-dev ## Hold a million live connections on this machine (some minutes; ARGS="--clients 100000")
	$(BIN)/python -m benchmarks.million $(ARGS)

bench-chain: $(VENV)/built-dev ## From the button to the browser, through a VPN (needs root; ARGS="--presses 200")
	@$(MAKE) --silent -C firmware
	@PYTHONPATH=firmware $(BIN)/python -m benchmarks.chain $(ARGS)

bench-page: $(VENV)/built-dev ## Lighthouse's scores, bytes of the first view, the server's CPU a request (needs npx)
	@$(BIN)/python -m benchmarks.page $(ARGS)

format: $(VENV)/built-dev ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Of the header stays what says something; not when and by which version it was made, which every merge would stumble on.
messages: $(VENV)/built-dev ## Bring the catalogues of all languages up to date with the texts in the code
	$(BIN)/pybabel -q extract -F babel.cfg --no-location --no-wrap -o $(VENV)/messages.pot src/bits/web
	$(BIN)/pybabel -q update -i $(VENV)/messages.pot -d $(LOCALE) --no-fuzzy-matching --ignore-obsolete --no-wrap
	sed -i -E '/^"(Report-Msgid|POT-Creation|PO-Revision|Last-Translator|Language-Team|Generated-By)/d' $(LOCALE)/*/*/*.po

clean: ## Remove everything that was built
	rm -rf $(VENV) build dist src/*.egg-info src/bits/web/static $(CLIENT)/node_modules
	rm -f src/bits/*.so src/bits/_*.c
	$(MAKE) -C firmware clean

$(VENV)/bin/python:
	@PYTHON=$(PYTHON) scripts/system.sh run
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# The build backend compiles the extensions and bundles the front end, with Node from pip where there is none.
$(VENV)/built: $(VENV)/bin/python pyproject.toml $(EXTENSIONS) $(FRONT_END)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/built-dev: $(VENV)/built
	@PYTHON=$(PYTHON) scripts/system.sh test
	$(BIN)/pip install --quiet --group dev
	@touch $@
