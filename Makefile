# The one place for commands. Everything runs in $(VENV), made on first use from the locked versions in tests/constraints.txt.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
PIP := $(PY) -m pip --disable-pip-version-check install -qq -c tests/constraints.txt
EXAMPLES := reply_stream worker_behind_a_port guest_and_host worker_pool log_follower plugin_host repl
.DEFAULT_GOAL := help
.PHONY: help demo test test-windows bench check chaos fuzz docs smoke lock venv clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done

demo: $(READY) ## a daemon and renderers in processes of their own show the four patterns and send_sync; then the examples
	@$(PY) docs/examples/demo.py
	@for name in $(EXAMPLES); do echo && $(PY) docs/examples/$$name/run.py || exit; done

test: $(READY) ## the whole suite, on asyncio and uvloop; ARGS="-k order" goes to pytest
	@$(PY) -m pytest -n 3 $(ARGS)
test-windows: $(READY) ## the suite over named pipes, with Windows' Python under Wine; ARGS="--python 3.13" or some tests
	@$(PY) -m tests.windows.run $(ARGS)

bench: $(VENV)/.bench ## the benchmarks, beside the peers that are here; ONLY=latency runs one of them; ARGS="--quick"
	@$(PY) benchmarks/run.py $(if $(ONLY),--only $(ONLY)) $(ARGS)

chaos: ## processes are killed, frozen and lied to while others talk, then all is audited; DURATION=120 SEED=
fuzz: ## try to break wire, clone, handshake, ports, configuration and broker with inputs that reach new code; DURATION=60 SEED=
chaos fuzz: $(READY)
	@$(PY) -m tests.$@.run $(if $(DURATION),--duration $(DURATION)) $(if $(SEED),--seed $(SEED))

check: $(READY) ## lint, format, types, layout, contract rules, docs
	@$(PY) -m ruff check && $(PY) -m ruff format --check
	@$(PY) -m mypy --strict && $(PY) -m tests.checks.windows
	@$(PY) -m tests.checks

docs: $(VENV)/.docs ## build the documentation in build/docs; a warning or a broken link fails
	@$(PY) -m tests.checks docs && $(PY) -m sphinx -q -E -W --keep-going -d build/doctrees docs build/docs
	@$(PY) -m tests.checks.site build/docs

smoke: $(READY) ## the smoke tests on the other supported Pythons; PYTHONS="3.13" picks some
	@$(PY) -m tests.checks.smoke $(PYTHONS)

lock: ## resolve all packages anew and write their versions to tests/constraints.txt
	@test -n "$(PYTHON)" || { echo "mainbus needs Python 3.11 or later: make lock PYTHON=/path/to/python3.11" >&2; exit 1; }
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip --disable-pip-version-check install -qq -e '.[test,docs,bench]'
	.venv-lock/bin/python -m tests.checks.lock && rm -rf .venv-lock

venv: $(READY) ## only make the environment
clean: ## remove environments and caches
	rm -rf .venv .venv-* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

$(READY): pyproject.toml tests/constraints.txt $(wildcard client/mainbus/*.p[yx][xd] client/mainbus/wire/*.p[yx][xd] broker/mainbus_broker/*.pyx)
	@test -n "$(PYTHON)" || { echo "mainbus needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "$(VENV): installing for $$($(PYTHON) --version), once; it takes a minute or two"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) hatchling editables cython setuptools && $(PIP) --no-build-isolation -e '.[test]' && touch $@
$(VENV)/.docs $(VENV)/.bench: $(READY)
	@$(PIP) $$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$(@F:.%=%)"])') && touch $@
