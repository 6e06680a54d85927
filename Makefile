# Route API. Begin with `make serve` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Many tests wait for a timer or a server, so one process more than cores keeps the cores busy.
TEST_PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
CODE := route_api tests migrations benchmarks/cost.py benchmarks/compare.py benchmarks/history.py benchmarks/request.py benchmarks/soak.py benchmarks/outage.py benchmarks/extraction.py benchmarks/questions config.py wsgi.py gunicorn.conf.py

# With this variable each start of a gateway, and the tests make many, would compile all of our code again.
unexport PYTHONDONTWRITEBYTECODE

CASES ?= 20000
SEED ?= $(shell date +%s)

BASE_URL ?= http://127.0.0.1:8000/v1
MINUTES ?= 15
STREAMS ?= 500
NEWMAN := postman/node_modules/.bin/newman
CLIENT_TOOLS := clients/javascript/node_modules/.bin/tsc
# Behind an address that somebody gave may be a real Dify, whose default model the collection must not change.
ENVIRONMENT := $(if $(filter file,$(origin BASE_URL)),sandbox,server)

.PHONY: help serve test fuzz fuzz-dify soak check format docs postman postman-questions postman-examples newman client-types client-tools screenshots clean

help:
	@echo "make serve    install everything and serve on http://127.0.0.1:8000 (PORT=... for another port)"
	@echo "make test     run every test that this machine can run, and list the skipped tests"
	@echo "make fuzz     send 20,000 requests that are made from the OpenAPI document (CASES=... SEED=...)"
	@echo "make fuzz-dify  change 20,000 answers of Dify at random, under every endpoint (CASES=... SEED=...)"
	@echo "make check    check formatting, style, types and import contracts"
	@echo "make format   format the code"
	@echo "make docs     generate docs/api.md and docs/api.zh.md from the code"
	@echo "make postman  run the Postman collection against a running gateway (BASE_URL=... API_KEY=...)"
	@echo "make postman-questions  ask the questions of postman/questions.json (BASE_URL=... API_KEY=...)"
	@echo "make postman-examples  save the answers again whose form has changed in the collection (BASE_URL=... API_KEY=...)"
	@echo "make newman   install newman, which runs the collection; needs npm"
	@echo "make client-types  make the types of the JavaScript client from the OpenAPI document; needs npm"
	@echo "make client-tools  install what makes these types and tries the JavaScript client and the console page out; needs npm"
	@echo "make screenshots  take the pictures of the console page in docs/console; needs Chromium"
	@echo "make soak     run a gateway for 15 minutes under load and faults, and look for leaks (MINUTES=... STREAMS=...)"
	@echo "make clean    remove the virtual environment and what npm has installed"

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
	@DATABASE_URL=sqlite:// $(BIN)/flask --app wsgi translations
	@DATABASE_URL=sqlite:// $(BIN)/flask --app wsgi api-reference > docs/api.md
	@DATABASE_URL=sqlite:// $(BIN)/flask --app wsgi api-reference --language zh > docs/api.zh.md

postman postman-questions: newman
	@$(NEWMAN) run postman/route-api.postman_collection.json --environment postman/$(ENVIRONMENT).postman_environment.json \
		--working-dir . --env-var "base_url=$(BASE_URL)" $(if $(API_KEY),--env-var "api_key=$(API_KEY)") $(OPTIONS)
postman-questions: OPTIONS = --folder "9 Questions from a file (数据文件提问)" --iteration-data postman/questions.json

postman-examples: newman $(VENV)/serve
	@$(BIN)/python -m tests.support.collection_examples "$(BASE_URL)" "$(API_KEY)"

newman: $(NEWMAN)

client-types: client-tools $(VENV)/test
	@$(BIN)/python -m tests.support.client_types

client-tools: $(CLIENT_TOOLS)

screenshots: $(VENV)/test
	@$(BIN)/python -m tests.support.console_screenshots

soak: $(VENV)/serve
	@$(BIN)/python benchmarks/soak.py --minutes $(MINUTES) --streams $(STREAMS)

clean:
	rm -rf $(VENV) postman/node_modules clients/javascript/node_modules

$(VENV)/serve: requirements.txt requirements-vectors.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Route API needs Python 3.11 or newer.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-vectors.txt || \
		echo "requirements-vectors.txt cannot be installed here: the sandbox will search by words, without meaning." >&2
	@touch $@

$(VENV)/test: requirements-dev.txt requirements-traces.txt requirements-vectors.txt $(VENV)/serve
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(NEWMAN): postman/package-lock.json
	npm ci --prefix postman --no-audit --no-fund
	@touch $@

$(CLIENT_TOOLS): clients/javascript/package-lock.json
	npm ci --prefix clients/javascript --no-audit --no-fund
	@touch $@
