# Every target sets up what it needs in .venv; only the first call takes long.
#   make demo    train the autoencoder with KFRA beside Adam (ARGS="..." is handed on)
#   make test    check the layering and run the fast tests

VENV ?= .venv
# Test processes; each computes with one thread unless OMP_NUM_THREADS and the like say more.
WORKERS ?= 2
ARGS ?=

BIN := $(VENV)/bin
PYTHON_CANDIDATES := python3 python3.12 python3.13 python3.14 python
IS_USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv quick test test-all demo bench lint format types docs outputs clean distclean

help:
	@echo "make demo      train the autoencoder: KFRA beside Adam, pictures and a table"
	@echo "make quick     the core's tests in about two minutes"
	@echo "make test      layering check and the fast tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make bench     time updates beside those of other libraries, in matrix products"
	@echo "make lint      ruff (rules and format) and the layering check"
	@echo "make format    let ruff rewrite the files"
	@echo "make types     mypy on the package"
	@echo "make docs      build the documentation, warnings being errors"
	@echo "make outputs   remake the outputs and pictures of the program in the documentation"
	@echo "make venv      .venv with everything a developer needs"
	@echo "make clean     remove what was built and cached (distclean: .venv as well)"

# --- environment -------------------------------------------------------------------------

# The interpreter is PYTHON where it is given, else the first usable one of the candidates.
$(BIN)/.created:
	@chosen=""; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",$(PYTHON_CANDIDATES)); do \
	  if "$$candidate" -c '$(IS_USABLE)' >/dev/null 2>&1; then chosen="$$candidate"; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "kfgn_graph needs Python 3.12 or newer with its venv module; none was found among:" >&2; \
	  echo "  $(if $(PYTHON),$(PYTHON),$(PYTHON_CANDIDATES))" >&2; \
	  echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$chosen" --version)"; \
	"$$chosen" -m venv "$(VENV)"
	@touch $@

# $(BIN)/.installed-EXTRA says that the extra of that name is installed as setup.py now has it.
$(BIN)/.installed-%: setup.py $(BIN)/.created
	@echo "Installing kfgn_graph[$*] into $(VENV); the first time takes a minute or more"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[$*]"
	@touch $@

.PRECIOUS: $(BIN)/.created $(BIN)/.installed-%

venv: $(BIN)/.installed-dev

# --- running -----------------------------------------------------------------------------

quick test test-all: export OMP_NUM_THREADS ?= 1
quick test test-all: export OPENBLAS_NUM_THREADS ?= 1
quick test test-all: export MKL_NUM_THREADS ?= 1
quick test test-all: export NUMBA_NUM_THREADS ?= 1
# Results do not depend on the device; the processes would fight over the memory of a GPU.
quick test test-all: export JAX_PLATFORMS ?= cpu

quick: $(BIN)/.installed-tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not thorough" \
	  --ignore=tests/program --ignore=tests/experiments $(ARGS)

test: $(BIN)/.installed-tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-all: $(BIN)/.installed-tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

demo: $(BIN)/.installed-experiments
	$(BIN)/python -m experiments.demo $(ARGS)

bench: $(BIN)/.installed-experiments
	$(BIN)/python -m experiments.benchmarks $(ARGS)

# --- quality -----------------------------------------------------------------------------

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

format: $(BIN)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(BIN)/.installed-dev
	$(BIN)/mypy

docs: $(BIN)/.installed-docs
	rm -rf docs/reference/generated  # pages of modules that are gone
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# What the pages show of the program; ARGS="digits" remakes one session of docs/outputs.py.
outputs: $(BIN)/.installed-dev
	$(BIN)/python docs/outputs.py $(ARGS)
	$(BIN)/python docs/spec_reference.py

clean:
	rm -rf build dist kfgn_graph.egg-info docs/_build docs/reference/generated
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -path "./$(VENV)" -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean
	rm -rf "$(VENV)"
