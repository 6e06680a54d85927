# Route API. Begin with `make serve` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Many tests wait for a timer or a server, so one process more than cores keeps the cores busy.
TEST_PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
CODE := route_api tests migrations benchmarks/cost.py benchmarks/compare.py benchmarks/history.py benchmarks/request.py benchmarks/soak.py config.py wsgi.py gunicorn.conf.py

CASES ?= 20000
SEED ?= $(shell date +%s)

BASE_URL ?= http://127.0.0.1:8000/v1
MINUTES ?= 15
STREAMS ?= 500
NEWMAN := postman/node_modules/.bin/newman

.PHONY: help serve test fuzz fuzz-dify soak check format docs postman newman clean

help:
	@echo "make serve    install everything and serve on http://127.0.0.1:8000 (PORT=... for another port)"
	@echo "make test     run every test that this machine can run, and list the skipped tests"
	@echo "make fuzz     send 20,000 requests that are made from the OpenAPI document (CASES=... SEED=...)"
	@echo "make fuzz-dify  change 20,000 answers of Dify at random, under every endpoint (CASES=... SEED=...)"
	@echo "make check    check formatting, style, types and import contracts"
	@echo "make format   format the code"
	@echo "make docs     generate docs/api.md from the code"
	@echo "make postman  run the Postman collection against a running gateway (BASE_URL=... API_KEY=...)"
	@echo "make newman   install newman, which runs the collection; needs npm"
	@echo "make soak     run a gateway for 15 minutes under load and faults, and look for leaks (MINUTES=... STREAMS=...)"
	@echo "make clean    remove the virtual environment and newman"

serve: $(VENV)/serve
	@ROUTE_API_PARENT_PID=$$PPID exec $(BIN)/python -m route_api

test: $(VENV)/test
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

fuzz: $(VENV)/test
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(BIN)/pytest -n $(TEST_PROCESSES) tests/openapi/test_fuzz.py

fuzz-dify: $(VENV)/test
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(BIN)/pytest --show-capture=no tests/test_fuzz_dify.py

check: $(VENV)/test
	$(BIN)/black --quiet --check --diff -l 120 $(CODE)
	$(BIN)/isort --check $(CODE)
	$(BIN)/flake8 $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/test
	$(BIN)/black --quiet -l 120 $(CODE)
	$(BIN)/isort $(CODE)

docs: $(VENV)/serve
	@DATABASE_URL=sqlite:// $(BIN)/flask --app wsgi api-reference > docs/api.md

postman: newman
	@$(NEWMAN) run postman/route-api.postman_collection.json --environment postman/sandbox.postman_environment.json \
		--working-dir . --env-var "base_url=$(BASE_URL)" $(if $(API_KEY),--env-var "api_key=$(API_KEY)")

newman: $(NEWMAN)

soak: $(VENV)/serve
	@$(BIN)/python benchmarks/soak.py --minutes $(MINUTES) --streams $(STREAMS)

clean:
	rm -rf $(VENV) postman/node_modules

$(VENV)/serve: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Route API needs Python 3.11 or newer.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/test: requirements-dev.txt $(VENV)/serve
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(NEWMAN): postman/package-lock.json
	npm ci --prefix postman --no-audit --no-fund
	@touch $@
