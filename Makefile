# make demo   set up, then run the whole chain once: phantom CT -> node -> SR and SEG at a stand-in PACS
# make test   set up, then the whole suite
# make soak   an hour (SOAK_SECONDS) with four senders and faults all the time; writes soak-report.md
# make bench  speed and memory, beside a peer in the same run
# make lint   static checks
# make fuzz   ten minutes (FUZZ_SECONDS) of bytes nobody should send, and floods of half a minute each
# make sbom   sbom.cdx.json, a CycloneDX bill of materials of what is installed
# make audit  known vulnerabilities in the pinned dependencies (needs the network)

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
WORKERS ?= 2
VIEWER := tests/viewer/node_modules/.package-lock.json

.PHONY: demo test fuzz soak bench lint peers viewer sbom audit clean

demo: $(VENV)/.installed
	@$(BIN)/cspine-node demo --out demo-out

test: $(VENV)/.installed-test peers viewer
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

fuzz: $(VENV)/.installed-test
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(BIN)/python -m pytest -q tests/integration/test_dimse_fuzz.py
	@FLOOD_SECONDS=$(or $(FLOOD_SECONDS),30) $(BIN)/python -m pytest -q tests/integration/test_dimse_floods.py

soak: $(VENV)/.installed-test
	@NODE_MACHINE_EXAMPLES=$(or $(NODE_MACHINE_EXAMPLES),5000) $(BIN)/python -m pytest -q tests/property/test_node_machine.py
	@SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) $(BIN)/python -m pytest -q tests/soak/run_soak.py

bench: $(VENV)/.installed-test peers
	@$(BIN)/python tests/benchmarks/run.py

# Without the tools of the tests: it says what runs.
sbom: $(VENV)/.installed
	@$(BIN)/python deploy/sbom.py > sbom.cdx.json
	@echo "sbom.cdx.json: $$(grep -c '"bom-ref"' sbom.cdx.json) packages"

audit:
	@PYTHON=$(PYTHON) deploy/audit-dependencies.sh $(VENV)-audit

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers:
	@deploy/install-test-peers.sh

viewer: $(VIEWER)

# OHIF as published (52 MB, 204 MB unpacked) for tests/e2e/test_ohif.py and axe-core (3 MB) for test_accessibility.py,
# which skip where they are missing.
$(VIEWER): tests/viewer/package-lock.json
	@if ! command -v npm >/dev/null 2>&1; then echo "Not installed here: npm (the test in a viewer will skip)"; \
	elif (cd tests/viewer && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); then touch $@; \
	else echo "npm could not install tests/viewer (the test in a viewer will skip)"; fi

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
