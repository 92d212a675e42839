# make demo   set up, then run the whole chain once: phantom CT -> node -> SR and SEG at a stand-in PACS
# make test   set up, then the whole suite
# make bench  speed and memory, beside a peer in the same run
# make lint   static checks

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
WORKERS ?= 2

.PHONY: demo test bench lint peers clean

demo: $(VENV)/.installed
	@$(BIN)/cspine-node demo --out demo-out

test: $(VENV)/.installed-test peers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

bench: $(VENV)/.installed-test
	@$(BIN)/python tests/benchmarks/run.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers:
	@deploy/install-test-peers.sh

# torch first and by itself: the pinned build, before anything else could ask for another one.
$(VENV)/.installed: pyproject.toml deploy/constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned dependencies into $(VENV) (once)"
	@$(PIP) install -c deploy/constraints.txt torch==2.13.0
	@$(PIP) install -c deploy/constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(PIP) install -c deploy/constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) demo-out
