# One word each. `make run` needs Python 3.11 or newer and the package registries; `make test` Go as well.
PYTHON ?= python3
BIN := .venv/bin
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: run test lint unit integration e2e bench gpu bench-operator chart clean

run: .venv/installed
	$(BIN)/graphsearch run examples/digits.yaml

test: lint unit integration

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/installed
	$(ONE_THREAD) $(BIN)/pytest tests/unit -n 2

integration: .venv/installed
	$(BIN)/python -m e2e.cluster build etcd helm kube-apiserver kubectl prometheus promtool
	$(ONE_THREAD) $(BIN)/pytest tests/integration -n 2 --dist loadfile --no-loadscope-reorder

e2e: .venv/installed
	$(ONE_THREAD) $(BIN)/pytest e2e

bench: .venv/installed
	$(BIN)/python -m benchmarks.decisions
	$(BIN)/python -m benchmarks.loader
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.local_world
	$(BIN)/python -m benchmarks.checkpoint

gpu: .venv/installed
	$(BIN)/pytest tests/gpu
	$(BIN)/python -m benchmarks.gpu

bench-operator: .venv/installed
	$(BIN)/python -m benchmarks.operator_costs

chart: .venv/installed
	$(BIN)/python -m charts.generate

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
