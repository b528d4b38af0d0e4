# A fresh machine needs Python 3.10+ and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

MINUTES ?= 10

.PHONY: install demo test lint types imports check chaos soak fuzz clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("otel_obs needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/otel-obs demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

check: lint types imports test

# Servers and gateways killed, frozen and starved under load: some minutes, own processes only.
chaos: install
	$(BIN)/python -m pytest -m chaos tests/chaos -s

# A steady load with a fault every minute, and a balance by id: make soak MINUTES=10
soak: install
	$(BIN)/python -m tests.chaos.soak $(MINUTES)

# Damaged requests into both decoders: make fuzz MINUTES=1
fuzz: install
	$(BIN)/python -m tests.chaos.fuzz $(MINUTES)

clean:
	rm -rf .venv build dist *.egg-info
