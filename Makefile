# Two commands: `make demo` and `make test`. Both set up what they need. `make check` is the quick loop of who changes code.
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/splitbrain

.PHONY: demo test check lint bench fuzz rates docs setup fast servers aids

demo: setup
	@$(RUN) test reference --variant majority --plan demo.toml
	@echo
	@$(RUN) test reference --variant primary-async --plan demo.toml --expect lost-write
	@echo
	@echo "The two reports:"
	@ls -t runs/*/report.html | head -2
	@echo "Commands as they are printed run once this shell knows them:  . $(BIN)/activate"

# Three files at a time: real clusters mostly wait. A file's tests stay in one process, since they share what they set up.
# tests/conftest.py says in which order files are taken.
TESTS := $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
# Hundreds of processes are started: what one has compiled, the next need not.
unexport PYTHONDONTWRITEBYTECODE

test: setup fast servers aids lint
	./tools/docker-lab $(TESTS)

check: lint
	$(TESTS) -m "not servers"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup fast servers
	./tools/docker-lab $(BIN)/python -m bench

fuzz: setup
	nice $(BIN)/python -m tests.checkers.linearizability.fuzz
	nice $(BIN)/python -m tests.checkers.transactions.fuzz --count 10000
	nice $(BIN)/python -m tests.checkers.sessions.fuzz 10000

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

rates: setup servers
	$(RUN) suite rates.toml --runs runs/rates
	$(RUN) rates runs/rates --store rates.jsonl --into docs/rates.md
	$(RUN) rates rates.jsonl --into README.md
	$(RUN) rates rates.jsonl --suite nightly.toml --into docs/rates.md

setup: $(VENV)/.installed
	@./tools/system-packages iproute2 iptables util-linux

fast: $(VENV)/.fast

servers: setup
	@./tools/system-packages redis-server redis-sentinel etcd-server openssh-server
	@./tools/system-packages openjdk-17-jre-headless maven
	@for name in mongodb cassandra; do $(RUN) servers get $$name || echo "WITHOUT $$name: its tests are skipped" >&2; done

# What tests need and runs do not: a browser to look at the report, a way to become root, and machines with a clock of their own.
aids: setup
	@./tools/system-packages chromium sudo
	@./tools/system-packages --no-install-recommends qemu-system-x86
	@./tools/guest-kernel

$(VENV)/.fast: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[fast]'
	@touch $@

$(VENV)/.installed: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[etcd,redis,mongodb,cassandra,docker,ssh,dask,sat,docs,dev]'
	@touch $@
