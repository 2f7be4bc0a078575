# Two commands: `make run` shows everything at once, `make test` proves it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint types unit bench notebooks clean

.venv/.run: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dashboard]'
	@touch $@

.venv/.test: .venv/.run
	$(BIN)/pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

run: .venv/.run
	@exec $(BIN)/binmon run -c config.yaml

test: .venv/.test lint types unit

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.test
	$(BIN)/mypy

# Many tests have a venue, a browser or a container beside them and real clocks. What failed on the busy machine is looked
# at once more, alone. What passes then depends on the machine's pace, or is a race: it is named, and to be mended.
unit: .venv/.test
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder || { \
	    status=$$?; [ $$status -eq 1 ] || exit $$status; \
	    echo 'Once more, alone, what failed. A test that passes now depends on the pace of the machine, or found a race: mend it.'; \
	    $(BIN)/python -m pytest -x -v --last-failed --last-failed-no-failures none; }

# The peers have requirements of their own, so they get an environment of their own.
.venv-bench/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install -q --disable-pip-version-check -e '.[benchmark]'
	@touch $@

bench: .venv-bench/.ready
	.venv-bench/bin/python benchmarks/books.py
	.venv-bench/bin/python benchmarks/frames.py
	.venv-bench/bin/python benchmarks/recorder.py

# Notebooks are kept without outputs.
notebooks: .venv/.test
	$(BIN)/python notebooks/clear.py

clean:
	rm -rf .venv .venv-bench build dist *.egg-info data
