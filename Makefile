# Two commands do all set-up themselves: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := runc crun busybox-static docker-registry git ca-certificates openssh-client python3-venv
# Named one by one: compileall follows no links.
SOURCES := grammar llb frontends solver worker llbkit conformance

.PHONY: help setup demo test test-all test-faults check report coverage site docs bench clean
help:
	@echo "make setup   Debian packages, a virtual environment in $(VENV), llbkit in it"
	@echo "make demo    build, run, rebuild and change examples/shop"
	@echo "make test    make check, then the tests, a sample of the faults among them"
	@echo "make test-faults  every fault: builds killed at many moments, files lost, restored and damaged, full disks"
	@echo "make test-all     make test and make test-faults"
	@echo "make check   format, lint, types, import contracts, docstrings"
	@echo "make report  names used twice, long files and full folders"
	@echo "make docs    the API reference, in build/api"
	@echo "make site    the documentation with the API reference, in build/site"
	@echo "make coverage  every test, and the lines that none of them reaches"
	@echo "make bench   side by side with BuildKit and buildah; prints ratios"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo "installing $$missing"; \
	  apt-get -o Acquire::Retries=3 update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q $(SOURCES)
	@touch $@

demo: setup
	$(BIN)/python examples/demo.py

check: setup
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy llbkit
	$(BIN)/lint-imports

report: setup
	-$(BIN)/python -m tests.house

docs: setup
	$(BIN)/python docs/api.py build/api

test: check docs
	$(BIN)/pytest -n 2 --dist loadfile

test-faults: setup
	$(BIN)/pytest -n 2 -m faults

test-all: test test-faults

coverage: setup
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

site: setup
	$(BIN)/pip install -q --disable-pip-version-check -e '.[docs]'
	$(BIN)/zensical build --clean --strict -f mkdocs.yml
	$(BIN)/python docs/api.py build/site/api

bench: setup
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
