# make env makes .venv; every other target uses it.  docs/install.md explains.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env demo lint test test-fast test-serial test-slow test-mpi \
        test-slurm docs clean-env

MPI_SIZES ?= 1 2 4
# Serial tests run side by side; the programs that they start have own ranks.
WORKERS ?= 2
# One rank holds one core: the numerical libraries start no threads of theirs.
export OMP_NUM_THREADS ?= 1

ENTER := source .venv/bin/activate
PYTEST := python -m pytest
SERIAL := tests --ignore=tests/mpi --ignore=tests/slurm

help:
	@echo 'make env        make or repair .venv (about 3 minutes, then < 1 s)'
	@echo 'make demo       the main job on 2 ranks, on real conformers'
	@echo 'make test       lint, serial, MPI ($(MPI_SIZES) ranks) and Slurm tests'
	@echo 'make test-fast  serial tests only, stop at the first failure'
	@echo 'make test-slow  the serial tests that make test leaves out'
	@echo 'make test-slurm the tests under a Slurm of their own'
	@echo 'make docs       the pages below docs/ as a site in site/'
	@echo 'make clean-env  remove .venv'

env:
	@bash jobs/environment.sh

demo: env
	@$(ENTER) && bash jobs/demo.sh

lint: env
	@$(ENTER) && flake8 mpiapp tests jobs
	@$(ENTER) && isort --check-only mpiapp tests jobs
	@$(ENTER) && mypy

test: lint test-serial test-mpi test-slurm

# Chromium for the tests of the report's page, where root may install it.
test-serial: env
	@bash jobs/environment.sh browser || true
	@$(ENTER) && $(PYTEST) $(SERIAL) -m 'not slow' --durations=15 \
	    -n $(WORKERS) --dist worksteal </dev/null

test-fast: env
	@$(ENTER) && $(PYTEST) $(SERIAL) -m 'not slow' -x -q

test-slow: env
	@$(ENTER) && $(PYTEST) $(SERIAL) -m slow </dev/null

test-mpi: env
	@$(ENTER) && for n in $(MPI_SIZES); do \
	    echo "MPI tests on $$n ranks"; \
	    timeout -k 30 600 mpirun -n $$n python -m mpi4py -m pytest \
	        tests/mpi --with-mpi -m 'not slow' -x --color=no --no-header \
	        </dev/null; \
	done

# A Slurm of their own, where its daemons are installed or root may do so.
test-slurm: env
	@! bash jobs/environment.sh slurm || \
	    { $(ENTER) && $(PYTEST) tests/slurm -m 'not slow' -rs \
	        </dev/null; }

docs: env
	@$(ENTER) && NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet
	@echo 'open site/index.html, or with search: python -m http.server -d site'

clean-env:
	rm -rf .venv
