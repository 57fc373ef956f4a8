# `make demo` and `make test` are all a fresh clone needs; both make .venv once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 3
# bytecode is kept even where an environment forbids it: hundreds of processes begin in a run
export PYTHONDONTWRITEBYTECODE :=
# who is done takes over what others have before them; what is dear is made once for all of a run
PYTEST := $(BIN)/pytest -n $(JOBS) --dist worksteal
STAMP  := $(VENV)/.installed

.PHONY: demo test test-roads test-all test-families test-workflows test-clients lint bench clean

demo: $(STAMP)
	@$(BIN)/bot demo

test: $(STAMP)
	@$(PYTEST) -m "not long and not road and not rig"

test-roads: $(STAMP)
	@$(PYTEST) -m "road and not long"

# with llama.cpp's own programs, which are built once
test-all: lint
	@$(BIN)/python -m tests.build_llama_tools $(VENV)/llama-tools
	@BOT_TEST_LLAMA_TOOLS=$(abspath $(VENV))/llama-tools $(PYTEST) -m "not rig"

test-families: $(STAMP)
	@$(PYTEST) -m long tests/e2e/test_convert.py tests/e2e/test_source.py \
		tests/unit/predict/test_conversion.py

test-workflows: $(STAMP)
	@$(BIN)/pytest -m long tests/e2e/test_workflows.py tests/e2e/test_travel.py \
		tests/e2e/test_hostile_runs.py::test_a_few_hostile_jobs_beside_honest_ones

# programs of others, from npm: at the versions of the lock file, running nothing while installed
test-clients: $(STAMP)
	@if command -v npm >/dev/null; then npm ci --silent --prefix tests/clients_npm; fi
	@$(PYTEST) -m long tests/clients_npm

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP)
	@for script in bench/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) apex-demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(STAMP): pyproject.toml .ci/install
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/install
	@touch $@
