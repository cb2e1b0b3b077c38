# One command per question. `make` alone lists them; a target's description is its `##`.

# The first of these that is Python 3.11 or newer and can make an environment; set PYTHON to choose.
PYTHONS := $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)
# Chromium without what only a window needs; half as dear, and found where it is installed.
SHELL-OF-CHROMIUM := chromium-headless-shell
CHROMIUMS := chromium chromium-browser google-chrome google-chrome-stable
BIN := .venv/bin
# An environment cannot be moved, so the marks that it is complete carry the place.
PLACE := $(shell pwd -P | cksum | cut -d ' ' -f 1)
DEV := .venv/dev-$(PLACE).stamp
DEMO := .venv/demo-$(PLACE).stamp
# SDKs and frameworks whose exceptions are raised; too many, and too big, for the environment above.
SDK-BIN := .venv-sdks/bin
SDKS := .venv-sdks/sdks-$(PLACE).stamp
# Most tests wait for processes of their own: a few more than there are processors.
TEST_WORKERS ?= 3
PYTEST_ARGS ?=
# Agents for `make cluster`, as module:gateway; empty: none of its own.
AGENTS ?=
PYTEST := $(BIN)/python -m pytest --dist worksteal $(PYTEST_ARGS)
ON-NATS := GATEWAY_TEST_STORE=nats $(PYTEST) -n $(TEST_WORKERS) -m "not own_store" tests/scenarios
UV := uv pip install --quiet --system-certs --compile-bytecode --python
HEADING = @printf '\n== %s\n'

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup chromium nginx demo cluster test check format format-check lint types imports soak durable bench figures field sdks docs reference clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO) ## Start the gateway with agents that fail, and a page that shows it
	@exec $(BIN)/gateway demo

cluster: setup ## Three NATS servers and two gateways on this machine, sharing one log
	@exec $(BIN)/python -m tests.cluster $(AGENTS)

setup: $(DEV) ## Make .venv with everything that development needs
	@:

test: setup chromium check ## Everything that CI runs
	$(HEADING) "tests ($(TEST_WORKERS) at a time)"
	@$(PYTEST) -n $(TEST_WORKERS)
	$(HEADING) "scenarios on NATS"
	@$(ON-NATS)
	$(HEADING) "requirements"
	@$(BIN)/python -m tests.requirements

check: format-check lint types imports ## Format, lint, types and imports, without the tests
	@:

format: setup ## Rewrite the code in the house's format
	@$(BIN)/ruff format .

format-check: setup
	$(HEADING) "format"
	@$(BIN)/ruff format --check .

lint: setup ## Look for common mistakes
	$(HEADING) "lint"
	@$(BIN)/ruff check .

types: setup ## Check the types
	$(HEADING) "types"
	@$(BIN)/mypy --num-workers 2

imports: setup ## Check that imports between the rooms point one way
	$(HEADING) "imports"
	@$(BIN)/lint-imports --no-cache --no-logo

soak: setup chromium nginx ## The tests with their full counts and times
	$(HEADING) "soak"
	@GATEWAY_SOAK=1 $(PYTEST) -n $(TEST_WORKERS) --timeout 3600 -o faulthandler_timeout=3500
	$(HEADING) "exceptions of SDKs"
	@$(MAKE) --no-print-directory sdks

durable: setup ## The scenarios again, on NATS instead of memory
	$(HEADING) "scenarios on NATS"
	@$(ON-NATS)

docs: setup ## Build the documentation as a site, in build/site
	@$(BIN)/mkdocs build --strict --quiet && printf 'open build/site/index.html\n'

reference: setup ## Write docs/reference from the operations, the events and the settings
	@$(BIN)/python -m tests.reference

field: setup ## Run what people reported of others, and print what was and what is
	@$(BIN)/python -m tests.field

sdks: $(SDKS) ## Raise the exceptions of SDKs and frameworks, and print how they are named
	@$(SDK-BIN)/python -m tests.field.sdks

bench: setup ## Measure, and print the figures
	@$(BIN)/python -m tests.bench

figures: setup ## Measure, and write docs/figures.md
	@$(BIN)/python -m tests.bench.publish

clean: ## Remove everything that these commands made
	@rm -rf .venv .venv-sdks build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .import_linter_cache
	@rm -rf *.egg-info .coverage
	@find gateway event_schemas tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the commands need -------------------------------------------------------------------

# Made again when pyproject.toml changes. What is installed for development serves the demo too.
$(DEV): pyproject.toml
	$(HEADING) "installing for development into .venv"
	@$(MAKE-VENV)
	@$(call INSTALL,.venv,--editable '.[dev]')
	@touch $(DEMO) $@

$(DEMO): pyproject.toml
	$(HEADING) "installing for the demo into .venv"
	@$(MAKE-VENV)
	@$(call INSTALL,.venv,--editable '.[demo]')
	@touch $@

$(SDKS): tests/field/sdks.txt
	$(HEADING) "installing SDKs into .venv-sdks"
	@$(MAKE) --no-print-directory setup
	@$(BIN)/python -m venv --clear .venv-sdks
	@$(call INSTALL,.venv-sdks,--editable . -r $<)
	@touch $@

# uv takes a fifth of pip's time. It does not read how pip is set up: the index is handed on, and
# where that is not enough pip installs.
define INSTALL
set -e; pip='$(1)/bin/python -m pip --disable-pip-version-check --quiet'; \
index=$$($$pip config get global.index-url 2>/dev/null || true); \
index=$${PIP_INDEX_URL:-$$index}; \
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
$$pip install uv && $(1)/bin/$(UV) $(1)/bin/python $(2) 2>/dev/null || $$pip install $(2)
endef

# Keeps an environment that works, replaces one that does not (an interrupted or moved one).
define MAKE-VENV
set -e; \
fit='import sys; sys.exit(sys.version_info < (3, 11))'; \
if $(BIN)/python -c "$$fit" 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 \
   && [ "$$($(BIN)/python -c 'import sys; print(sys.prefix)')" = "$$(pwd -P)/.venv" ]; \
then exit 0; fi; \
for python in $(PYTHONS); do \
  if $$python -c 'import ensurepip, venv' 2>/dev/null && $$python -c "$$fit" 2>/dev/null; \
  then exec $$python -m venv --clear .venv; fi; \
done; \
echo 'no Python 3.11 or newer with the module venv found:' \
     'install one (on Debian: python3 and python3-venv) or name it, make PYTHON=...' >&2; \
exit 1
endef

chromium:
	@command -v $(SHELL-OF-CHROMIUM) >/dev/null && exit 0; \
	there=; for name in $(CHROMIUMS); do command -v $$name >/dev/null && there=yes; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  printf '\n== installing chromium for the browser tests\n'; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  [ -n "$$there" ] || apt-get update -qq; \
	  for name in $(SHELL-OF-CHROMIUM) chromium; do \
	    apt-get install -y -qq --no-install-recommends $$name >/dev/null 2>&1 && exit 0; \
	    [ -z "$$there" ] || exit 0; \
	  done; \
	fi; \
	[ -n "$$there" ] && exit 0; \
	echo 'the browser tests need Chromium: install chromium or google-chrome' \
	     'so that it is found on PATH' >&2; \
	exit 1

nginx:
	@command -v nginx >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  printf '\n== installing nginx for the test of proxies\n'; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light \
	    >/dev/null; \
	else \
	  echo 'the test of proxies needs nginx: install it so that it is found on PATH' >&2; \
	  exit 1; \
	fi
