# make train   make .venv, install, train on the embedded data, evaluate, write a run folder
# make test    make .venv, install with the test extra, run the whole test suite
# make docs    the documentation, in build/docs; warnings are errors, code cells run
# make notebooks   the tutorial as executed notebooks, in build/notebooks
# make lint    ruff, and mypy --strict on a plain (not editable) installation
# make clean   remove .venv and everything else that was generated, except runs/
#
# PYTHON=python3.12   the interpreter that makes .venv (3.10 or later)
# ARGS="--epochs 3"   further arguments for `spikeprop train` or pytest
# PyPI's torch for Linux brings the CUDA libraries along (gigabytes). For the CPU build:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make train

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Each stamp is touched only when its step has succeeded, so an interrupted one is done again and
# a finished one never.
MADE := $(VENV)/.made
RUN := $(VENV)/.installed
TEST := $(VENV)/.installed-test
DOCS := $(VENV)/.installed-docs
METADATA := setup.cfg pyproject.toml constraints.txt spikeprop/_version.py
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help train test docs notebooks lint clean

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

train: $(RUN)
	@$(BIN)/spikeprop train $(ARGS)

test: $(TEST)
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

docs: $(DOCS)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

notebooks: docs
	@mkdir -p build/notebooks
	@cp build/jupyter_execute/tutorial/*.ipynb build/notebooks
	@ls build/notebooks/*

# mypy cannot follow an editable installation, and a plain one also shows what a user would get.
lint: $(TEST)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	@rm -rf build/plain build/lib build/bdist*
	@$(PIP_INSTALL) --no-deps --target build/plain .
	cd build/plain && "$(CURDIR)/$(BIN)/python" -m mypy --config-file "$(CURDIR)/pyproject.toml" \
	    --cache-dir "$(CURDIR)/.mypy_cache" --strict -p spikeprop

clean:
	rm -rf docs/figures
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@command -v $(PYTHON) >/dev/null || { \
	    echo "make: there is no '$(PYTHON)'; name a Python 3.10 or later: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "make: spikeprop needs Python 3.10 or later, and '$(PYTHON)' is" \
	        "$$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Beside the clone, `import spikeprop` would find the clone's folder before a usual editable
# installation; not so before a strict one, which in turn sees a new file only when made anew: a
# change of CHANGELOG.md stands for new files, and where work is done the usual one stays.
$(RUN): $(MADE) $(METADATA) CHANGELOG.md
	@echo "installing spikeprop into $(VENV) (some minutes the first time)"
	@$(PIP_INSTALL) "pip>=22.3"
	@if [ -e $(TEST) ] || [ -e $(DOCS) ]; then $(PIP_INSTALL) -e .; \
	    else $(PIP_INSTALL) -e . --config-settings editable_mode=strict; fi
	@touch $@

$(TEST): $(MADE) $(METADATA)
	@echo "installing spikeprop and its test tools into $(VENV) (some minutes the first time)"
	@$(PIP_INSTALL) "pip>=22.3"
	@$(PIP_INSTALL) -e ".[test]"
	@touch $(RUN) $@

$(DOCS): $(MADE) $(METADATA)
	@echo "installing spikeprop and what the documentation needs into $(VENV) (some minutes the first time)"
	@$(PIP_INSTALL) "pip>=22.3"
	@$(PIP_INSTALL) -e ".[docs]"
	@touch $(RUN) $@
