# A fresh machine needs nothing but Python 3.11 or newer, pip and make.

PYTHON ?= python3
CORES ?= 2
PYTEST_ARGS ?= -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=90
BIN := .venv/bin

.PHONY: help demo test browser soak reliability config-docs lint clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    install into .venv, make a small library and embed it (none of your music)"
	@echo "make test    run the whole test suite"
	@echo "make browser opens the report in a real browser and tries it (needs Chromium)"
	@echo "make soak    run the long loop of kills and every combination of formats (over an hour)"
	@echo "make lint    check style, workflow, types and the walls between the modules"
	@echo "make clean   remove .venv, the demo library and caches; results/ stays"
	@echo
	@echo "Your own library, after make demo:"
	@echo "  source .venv/bin/activate            in each new terminal, in this folder"
	@echo "  mert-backfill init ~/Music           looks at your music, writes my-library.yaml"
	@echo "  mert-backfill preview                says what there is to do, changes nothing"
	@echo "  mert-backfill run --limit 10         tries ten tracks; without --limit: all"
	@echo "  mert-backfill --help                 all commands; README.md tells the rest"

demo: .venv/run.stamp
	$(BIN)/python -m mert_backfill.demo.library demo
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml
	@echo
	@echo "The audit is in results/audit/audit.md, with charts in results/audit/report.html."
	@echo "The demo model has random weights: its vectors mean nothing musically."
	@echo "For your own library: make help"

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(PYTEST_ARGS)

browser: .venv/dev.stamp # the report in a real one: apt install chromium chromium-driver
	$(BIN)/python -m pytest -rs tests/browser

soak: .venv/dev.stamp
	$(BIN)/python -m pytest -m soak

reliability: .venv/dev.stamp # docs/reliability.md, of the fault suite's own docstrings
	cd tests && ../$(BIN)/python -m support.fault_table

config-docs: .venv/dev.stamp # the schema and the tables of config/README.md, of settings.py
	cd tests && ../$(BIN)/python -m support.config_docs

lint: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	cd src && ../$(BIN)/lint-imports --no-logo ../pyproject.toml # of this checkout
	$(BIN)/snakemake --lint

clean: # not results/: it may hold weeks of work
	rm -rf .venv demo dist .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
	find src tests workflow benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first: it is by far the largest, and what goes wrong with it is seen at once.
# Some systems package Python without ensurepip; there their pip serves the new environment.
# What is installed of this project is a pointer to src: an edited file counts at once.
.venv/run.stamp: requirements.txt requirements-index.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=python3.12"; \
		exit 1; }
	@echo "installing into .venv, once: some minutes, and about 2 GB on the disk"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		$(PYTHON) -m venv --clear --without-pip .venv && \
		$(PYTHON) -m pip --python .venv/bin/python install pip; }
	$(BIN)/python -m pip install -q "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q -r requirements-index.txt || \
		echo "note: hnswlib was not built; snakemake atlas will leave out index/hnsw.idx"
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@
