# Parts of `deploy/test`, for a machine that it has set up.
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -m "not long"

.PHONY: quick unit integration conformance chaos browser lint types house bench model demo test

quick: ## unit and conformance tests, and 1,000 seeds of the simulator: at most two minutes on two cores
	SIMULATOR_SEEDS=1000 $(PYTEST) -q -n 2 --dist worksteal $(wildcard tests/unit tests/conformance tests/simulator)
unit:
	$(PYTEST) -q tests/unit
integration:
	$(PYTEST) tests/integration
conformance:
	$(PYTEST) tests/conformance
chaos:
	$(PYTEST) tests/chaos
browser:
	$(PYTEST) tests/browser
lint:
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
types:
	.venv/bin/mypy
house: ## the import contracts, then the longest files
	.venv/bin/lint-imports
	@find engine api -name '*.py' | xargs wc -l | sort -rn | sed -n 2,6p
model: ## every state of the protocol's models: under three minutes on two cores
	$(PYTHON) -m tests.model
	$(PYTHON) -m tests.model.workflow
bench:
	$(PYTHON) -m tests.bench
demo:
	deploy/demo
test:
	deploy/test
