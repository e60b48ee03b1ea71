# Everything that vlactl needs lives in .venv; nothing is installed elsewhere.
#   make install   the package, its pinned dependencies and the developer tools
#   make sweep     the design-space sweep, from nothing to the table
#   make test      the whole test suite          make lint   ruff and pyright
#   make bench     the benchmarks (ratios within one run, never asserted)
#   make pictures  contact sheets of all tasks in PICTURES, and the README's picture of the scenes
# On a machine without a GPU, point pip at an index or folder that has torch's CPU build and the gigabytes of CUDA
# packages stay away:  make install PIP_ARGS="--extra-index-url URL"  (README, "Install").

PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
RECIPE   ?= recipes/design_space.yaml
PICTURES ?= pictures
STAMP    := $(VENV)/.installed

.PHONY: install sweep quickstart test lint bench pictures clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS) torch
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS) --editable ".[dev]"
	@touch $@

sweep: install
	$(VENV)/bin/vlactl sweep $(RECIPE) --yes

quickstart: install
	$(VENV)/bin/vlactl sweep recipes/quickstart.yaml --yes

test: install
	$(VENV)/bin/python -m pytest tests

lint: install
	$(VENV)/bin/ruff check vlactl tests
	$(VENV)/bin/pyright

bench: install
	@for program in tests/bench/bench_*.py; do \
		echo "== $$program"; $(VENV)/bin/python -m tests.bench.$$(basename $$program .py) || exit 1; done

pictures: install
	$(VENV)/bin/vlactl sim sheets --output $(PICTURES)
	$(VENV)/bin/vlactl sim look --scene ABCD --image-px 320 --small --output vlactl/tabletop/scenes.png

clean:
	rm -rf $(VENV) .vlactl build pictures *.egg-info
