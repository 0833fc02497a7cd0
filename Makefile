# Every target sets itself up: a virtual environment in .venv, reused while pyproject.toml is unchanged.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
STAMP := $(VENV)/.installed-from-pyproject
BENCH_STAMP := $(VENV)/.installed-bench
SCALE_STAMP := $(VENV)/.installed-test-scale

# Where Python may not keep what it compiles, each start of PyTorch takes 20 s instead of 4.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(BIN)/python -m pip install --no-compile --progress-bar off --disable-pip-version-check

# Each worker runs its tests on one thread: threads that wait for a busy core make small products far slower.
# `worksteal` starts each worker on a contiguous part, so that tests of one file share what they fit.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

.PHONY: demo test trust test-web test-scale test-slow floor versions check format bench compare docs docs-serve \
	release-check clean

# Installs only what it needs, and shows how that goes.
demo: $(RUNTIME)
	$(BIN)/backwalk demo --force

# One room or one test: make test ARGS="tests/table -k levels"
test: $(STAMP)
	$(PYTEST) -m "not slow and not campaign and not browser and not scale" $(ARGS)

# Whole programs end to end: the examples of README and docs, damaged and hostile files, kills, little memory.
trust: $(STAMP)
	$(PYTEST) -m campaign $(ARGS)

# The page in Chromium, which has to be there (BACKWALK_CHROMIUM names one in an unusual place). Without it all is skipped,
# but for CI=true, where that is a failure. One worker: a browser, its server and a training fit fill two cores.
test-web: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m browser $(or $(ARGS),tests/playground)

# Files larger than memory, and samples by Ray and Dask with a killed worker; minutes. A missing Ray or Dask is a failure where
# CI=true. One test at a time, as each starts processes that fill two cores.
test-scale: $(SCALE_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m scale $(or $(ARGS),tests/scale tests/test_engines.py)

test-slow: $(STAMP)
	$(PYTEST) -m slow

# A few tests with every dependency but torch at its lowest version. `make versions` takes torch's too, and then the newest
# of all on each Python: gigabytes to download.
floor: $(STAMP)
	$(BIN)/python .ci/versions.py lowest --borrow-torch

PYTHONS ?= python3.11 python3.12 python3.13
versions: $(STAMP)
	$(BIN)/python .ci/versions.py lowest --python $(firstword $(PYTHONS))
	$(BIN)/python .ci/versions.py newest $(addprefix --python ,$(PYTHONS))

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Beside other packages: half an hour; ARGS="--size full" takes a day, ARGS="densities gaps" some parts.
bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

# Old code beside new on a fixed set: what a change gained or cost. Half an hour; ARGS="--size full" takes three seeds.
# make compare BASE=main~5 ARGS="--entries adult,magic"
compare: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks.compare $(or $(BASE),$(error name the old code: make compare BASE=main~1)) $(ARGS)

# The site, with all its cells and scripts run: out/site/index.html. Cells and scripts that did not change are not run again.
# A quick look without their outputs: make docs ARGS="-D nb_execution_mode=off -D plot_gallery=False"
docs: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W -n --keep-going -d out/site-doctrees $(ARGS) docs out/site
	@echo "The site is out/site/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory out/site 8000

# Whether this version can be released: built twice, checked, and used in an empty environment under a temporary folder.
release-check:
	$(PYTHON) .ci/release.py

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache

$(RUNTIME): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "backwalk needs Python 3.11 or newer; name one with make PYTHON=python3.12" >&2; exit 1; }
	rm -rf $(VENV)
	@.ci/install "a virtual environment in $(VENV)" $(PYTHON) -m venv $(VENV)
	@.ci/install "backwalk and what it needs" $(PIP) -e .
	@.ci/install "the first start of PyTorch" $(BIN)/python -c "import backwalk.estimator, backwalk.assess"
	@touch $@

$(STAMP): $(RUNTIME)
	@.ci/install "tools for tests, checks and the site" $(PIP) -e ".[test,test-web,check,docs]"
	@touch $@

$(BENCH_STAMP): $(STAMP)
	@.ci/install "the packages to compare with" $(PIP) -e ".[bench]"
	@touch $@

$(SCALE_STAMP): $(STAMP)
	@.ci/install "Ray and Dask" $(PIP) -e ".[test-scale]"
	@touch $@
