# make demo    the whole service, a thousand jobs, their aggregate
# make test    every test
# make check   format, lint, types, import contracts, size budgets
# make setup   what the other two need, nothing else
# make fuzz    thousands of made-up requests against the running service
# make bench   the service beside other runners and against its targets, about an hour; BENCH_ARGS="against --turns 2"
# make soak    a million jobs of every kind, sampled, checked and plotted; SOAK_JOBS=20000 for a short one
# make big-log one job that prints 5 GB
# make faults  300 faults of every kind while 10,000 jobs run (root, about 20 minutes); FAULTS_ARGS="--seed 1 --faults 50"
# make escapes what hostile jobs try, on every runtime; writes docs/escapes.md (root, about four minutes)
# make fresh   demo and test in a clone inside a new Debian tree (root)

PYTHON = .venv/bin/python

.PHONY: setup setup-dev demo test check format fuzz bench soak big-log faults escapes fresh clean

setup:
	@tools/setup.sh run

setup-dev:
	@tools/setup.sh dev

demo: setup
	$(PYTHON) examples/circuit-yield/run.py

test: setup-dev
	$(PYTHON) -m pytest $(PYTEST_ARGS)

check: setup-dev
	.venv/bin/ruff format --check src tests examples tools bench faults
	.venv/bin/ruff check src tests examples tools bench faults
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m pytest -q tests/unit/test_size_budgets.py

format: setup-dev
	.venv/bin/ruff format src tests examples tools bench faults
	.venv/bin/ruff check --fix src tests examples tools bench faults

fuzz: setup-dev
	OPENHTC_FUZZ_EXAMPLES=$${OPENHTC_FUZZ_EXAMPLES:-150} $(PYTHON) -m pytest -s tests/fuzz $(PYTEST_ARGS)

bench: setup-dev
	$(PYTHON) -m bench --plot docs/bench.png $(BENCH_ARGS)

soak: setup
	$(PYTHON) -m bench.soak run --json soak.json $(SOAK_ARGS)

big-log: setup
	$(PYTHON) -m bench.soak big-log $(BIG_LOG_ARGS)

faults: setup-dev
	$(PYTHON) -m faults $(FAULTS_ARGS)

escapes: setup-dev
	$(PYTHON) -m pytest tests/conformance/runtimes tests/security -o junit_family=xunit1 --junitxml=build/escapes.xml $(PYTEST_ARGS)
	$(PYTHON) tools/escapes.py build/escapes.xml

fresh:
	@tools/fresh.sh $(FRESH_ARGS)

clean:
	rm -rf .venv build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
