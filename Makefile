# Each target works on a fresh checkout. If no virtual environment is active, .venv is created and used.
SHELL := /bin/bash
.DELETE_ON_ERROR:

BASE_PYTHON ?= python3
ifdef VIRTUAL_ENV
PYTHON := $(VIRTUAL_ENV)/bin/python
else ifdef CONDA_PREFIX
PYTHON := $(CONDA_PREFIX)/bin/python
else
PYTHON := $(CURDIR)/.venv/bin/python
endif
# One stamp per environment; a changed requirement makes it out of date.
STAMP := $(dir $(PYTHON))../.ftcls-installed

.PHONY: demo test test-all lint bench docs linkcheck install

install: $(STAMP)

$(STAMP): setup.py $(wildcard requirements/*.txt)
	@if [ ! -x "$(PYTHON)" ]; then echo "creating .venv with $(BASE_PYTHON)"; $(BASE_PYTHON) -m venv .venv; fi
	"$(PYTHON)" -m pip install --quiet --upgrade pip
	"$(PYTHON)" -m pip install --quiet -e '.[optional,tests]'
	@touch "$@"

demo: $(STAMP)
	"$(PYTHON)" tools/demo.py

test: $(STAMP)
	"$(PYTHON)" -m pytest -n 2 --dist loadfile

test-all: $(STAMP)
	"$(PYTHON)" -m pytest -m ''

lint: $(STAMP)
	"$(PYTHON)" -m yapf --diff --recursive --parallel ftcls tools tests configs benchmarks docs setup.py
	"$(PYTHON)" -m isort --check-only --diff ftcls tools tests configs benchmarks docs setup.py
	"$(PYTHON)" -m flake8 ftcls tools tests configs benchmarks docs setup.py
	"$(PYTHON)" -m codespell_lib ftcls tools tests configs benchmarks docs README.md CHANGELOG.md CONTRIBUTING.md setup.py

# The site, in docs/_build/html; `make linkcheck` also asks for the pages of others that it links to, which needs network.
DOCS_STAMP := $(dir $(PYTHON))../.ftcls-docs-installed
SPHINX = "$(PYTHON)" -m sphinx -W --keep-going -d docs/_build/trees

$(DOCS_STAMP): $(STAMP) requirements/docs.txt
	"$(PYTHON)" -m pip install --quiet -r requirements/docs.txt
	@touch "$@"

docs: $(DOCS_STAMP)
	"$(PYTHON)" docs/make_model_zoo.py
	$(SPHINX) -b html docs docs/_build/html

linkcheck: $(DOCS_STAMP)
	$(SPHINX) -b linkcheck docs docs/_build/linkcheck

# The tables of docs/performance.md. PEERS is the Python of an environment with mmpretrain, timm, torchvision, fastai; without
# it only our side is measured. The other scripts in benchmarks/ have no table there: they choose rates, or count kills.
BENCHMARKS ?= $(shell grep -lE '^(from|import) side_by_side' benchmarks/*.py)
bench: $(STAMP)
	@failed=; for script in $(BENCHMARKS); do echo "== $$script"; \
	  "$(PYTHON)" "$$script" --write $(if $(PEERS),--peers "$(PEERS)") || failed="$$failed $$script"; done; \
	if [ "$$failed" ]; then echo "failed:$$failed"; exit 1; fi
