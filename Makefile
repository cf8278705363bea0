# Everything a person does here starts with `make`. `make` alone says what there is.
#
#   make lab ARGS='--no-browser --port 8899'    ARGS goes to JupyterLab (lab) or to pytest (test)
#   make lab PYTHON=python3.12                  another Python
#   make test JOBS=4                            tests in four processes
#   make lab TORCH_INDEX=URL                    another source for torch (README, "A smaller torch")

PYTHON ?= python3
ARGS ?=

# So many test files at once, each 1 to 2 GB. `make test JOBS=0` is one process, for --pdb.
JOBS ?= 2

# torch is installed in a step of its own, because the right file for it differs from machine to machine
# (CPU, CUDA, a local build); requirements/lock.txt holds everything else, with hashes.
TORCH ?= 2.13.0
TORCH_INDEX ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input

# matplotlib keeps its list of fonts, and looks for its settings, in the environment itself. The list in the home folder
# is shared with every other matplotlib of the machine, and one of them can leave fonts out of it: then every picture
# with a power of ten on its axis prints a warning. Figures do not follow a reader's own settings either.
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib

# The stamp says that the set-up is done. Its name holds what its date cannot: which torch was asked for, and
# where the folder is (a folder that was moved needs its editable install again).
STAMP := $(VENV)/.ready-$(TORCH)-$(shell pwd | cksum | cut -d' ' -f1)

.PHONY: help lab test course site build lint faults gpu benchmark benchmark-long format lock clean

help:
	@echo 'make lab      open the course in JupyterLab (the first time: sets everything up, minutes)'
	@echo 'make test     prove it: style, types, unit tests, every notebook, the browser'
	@echo 'make course   run every notebook without a screen and write the reading site'
	@echo 'make site     write the reading site from the notebooks as they are stored: a minute'
	@echo
	@echo 'make build    rebuild the notebooks from notebooks/source (overwrites what you wrote in them)'
	@echo 'make lint     only style and types'
	@echo 'make faults   500 accidents while training (kills, flipped bits, no room): minutes'
	@echo 'make gpu      the tests that need a CUDA GPU, on a machine that has one: two minutes'
	@echo 'make benchmark       speed beside our peers, samplers on a known Gaussian, waiting times: half an hour'
	@echo 'make benchmark-long  what else docs/benchmarks.md shows: training, samples, the test suite: five hours'
	@echo 'make format   let ruff lay the code out'
	@echo 'make lock     choose the pinned versions anew, from the ranges in pyproject.toml'
	@echo 'make clean    remove the environment and what was built (never your notebooks)'
	@echo
	@echo "ARGS is passed on: make lab ARGS='--no-browser --port 8899', make test ARGS='tests/setup -x'"

lab: $(STAMP)
	$(PY) -m jupyterlab --ServerApp.root_dir=. notebooks/00_start_here.ipynb $(ARGS)

# Cheap stages first: the first one that fails ends the run.
test: lint
	@echo '== tests: unit, notebooks, browser =='
	@# A file stays in one process (a notebook's cells share their kernel), in order: the browser, which takes longest, first.
	@# Threads that wait sleep, rather than spin on a core that the other process could use.
	OMP_WAIT_POLICY=passive $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	@echo '== style =='
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@echo '== types =='
	$(PY) -m mypy

faults: $(STAMP)
	$(PY) -m tests.training.long_faults $(ARGS)

# make test hides all GPUs (conftest.py says why).
gpu: $(STAMP)
	DDPM_EDU_GPU_TESTS=1 $(PY) -m pytest tests/training/test_on_gpu.py $(ARGS)

# Nothing else should run on the machine; two parts drive Chromium. requirements/peers.txt brings the second peer; without it ours and diffusers.
benchmark: $(STAMP)
	$(PY) benchmarks/run.py short

benchmark-long: $(STAMP)
	$(PY) benchmarks/run.py long

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

build: $(STAMP)
	$(PY) tools/build.py

course: $(STAMP)
	$(PY) tools/site.py

site: $(STAMP)
	$(PY) tools/site.py --stored

lock: $(STAMP)
	$(PIP) install --quiet 'uv>=0.13,<0.14'
	$(PY) requirements/lock.py $(TORCH)

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info

# The prerequisites are what the environment is made from; an edited one makes it again.
$(STAMP): requirements/lock.txt requirements/constraints.txt requirements/after-torch.txt pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	  echo "This needs Python 3.11 to 3.14; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not found')."; \
	  echo "Fix: install one of these and name it, for example: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "This Python cannot make virtual environments: Debian and Ubuntu ship that apart."; \
	  echo "Fix: sudo apt-get install python3-venv"; exit 1; }
	@rm -f $(VENV)/.ready-*
	@echo '== set-up 1/4: environment in $(VENV) =='
	@$(PYTHON) -m venv $(VENV)
	@echo '== set-up 2/4: the locked packages (one or two minutes) =='
	@$(PIP) install -qq --require-hashes --only-binary :all: -r requirements/lock.txt
	@echo '== set-up 3/4: torch $(TORCH) (from 200 MB to several GB, README says how to choose) =='
	@# torch may bring its own companions but must leave every locked version as it is. Its own pin is taken
	@# out of the constraints so that `make TORCH=...` can try another version of it.
	@grep -v '^torch==' requirements/constraints.txt > $(VENV)/constraints-without-torch.txt
	@$(PIP) install -qq -c $(VENV)/constraints-without-torch.txt \
	  $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH)
	@$(PIP) install -qq --no-deps --require-hashes --only-binary :all: -r requirements/after-torch.txt
	@echo '== set-up 4/4: this package =='
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@$(PIP) check
	@$(PY) -c 'import matplotlib.font_manager'  # once here, or the first notebook says that it is making the list
	@touch $@
