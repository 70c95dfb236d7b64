# Everything from nothing: `make demo` and `make test` set up .venv first, and skip that when it is current.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: setup demo test lint docs bench clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found $$($(PYTHON) --version 2>&1); run: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: setup
	$(BIN)/python tools/predict_clip.py examples/demo.mp4 --per-frame --overlay --report --output-dir demo_output
	@ls -1 demo_output/demo.*

test: setup
	@# Two at a time, each in one thread: more would only wait for one another on two cores.
	@# Files in their own order: by number of tests the slowest, which have few, would come last and run alone.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The variable silences the theme's notice that it is kept up until 2027, which is no fault of the pages.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) demo_output site
