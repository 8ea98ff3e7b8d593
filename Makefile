# ComfyUI-SAeUron: needs Python 3.11 and make; everything else is installed into .venv and .host.
# COMFYUI_PATH=<folder> uses a ComfyUI of your own instead of the one that set-up unpacks into .host.
# Every path below is relative, so the checkout may lie in a folder with spaces in its name.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV_PYTHON := .venv/bin/python

# A stamp lies inside the folder that it speaks for: who deletes the folder deletes the stamp.
VENV_STAMP := .venv/.requirements-dev
ifdef COMFYUI_PATH
HOST_STAMP := check-host
else
HOST_STAMP := .host/.unpacked
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo evaluate bench pictures test test-slow soak serve lint clean check-host

help:
	@echo "make setup   install what is needed into .venv, unpack ComfyUI into .host"
	@echo "make demo    remove a concept in a real ComfyUI; pictures and a report in output/demo"
	@echo "make evaluate  the whole benchmark on the miniature, into docs/results; hours (ARGS=--quick for a small one, --attacks for attacks)"
	@echo "make bench   how fast it is, into docs/performance.md (ARGS=edit for one part)"
	@echo "make pictures  the pictures of README and help pages, icon and banner"
	@echo "make serve   ComfyUI with this pack in a browser (ARGS='--port 8200' for another port)"
	@echo "make test    the tests of every contract, some minutes (TIER=unit, or host, live, browser; ARGS='-k name' for some)"
	@echo "make test HOST=0.33.0   the same on a newer ComfyUI, where its archive lies in ../shared/hosts (FRONT_END=1.58.1: its front end)"
	@echo "make test-slow  the rest: full size, compilers, every template, other servers, notebook, installing (PEERS=1: other packages' SAEs)"
	@echo "make soak    the long tests, into docs/reliability.md; a quarter of an hour (ARGS='kills --cases 20' for a part)"
	@echo "make lint    ruff and mypy"
	@echo "make clean   remove caches and output/demo; .venv, .host and the rest of output stay"

setup: $(VENV_STAMP) $(HOST_STAMP)

$(VENV_STAMP): requirements-dev.txt
	@test -x $(VENV_PYTHON) || "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	test -x $(VENV_PYTHON) || "$(PYTHON)" -m venv .venv
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

.host/.unpacked: $(VENV_STAMP) tools/host/unpack.py
	$(VENV_PYTHON) -m tools.host
	touch $@

check-host: $(VENV_STAMP)
	$(VENV_PYTHON) -m tools.host

demo: setup
	$(VENV_PYTHON) -m tools.demo $(ARGS)

evaluate: setup
	$(VENV_PYTHON) -m tools.evaluation $(ARGS)

bench: setup
	$(VENV_PYTHON) -m tools.bench $(ARGS)

pictures: setup
	$(VENV_PYTHON) -m tools.pictures

serve: setup
	$(VENV_PYTHON) -m tools.host.serve $(ARGS)

# Folders of tests/. They are named because the root __init__.py, which ComfyUI needs, trips pytest up (see
# tests/pytest.ini).
TIER ?= unit host live browser
# Another ComfyUI than the one in .host: HOST=0.33.0, in an environment of its own. Another front end: FRONT_END=1.58.1.
ifdef HOST
ifeq ($(origin TIER),file)
TIER := host live browser
endif
TEST_PYTHON := $(VENV_PYTHON) -m tools.host.newer $(HOST)
else
TEST_PYTHON := $(VENV_PYTHON)
endif
ifdef FRONT_END
export FRONT_END
endif

test: setup
	$(TEST_PYTHON) -m pytest $(TIER:%=tests/%) $(ARGS)

test-slow: setup
	$(VENV_PYTHON) -m pytest tests/slow $(ARGS)

soak: setup
	$(VENV_PYTHON) -m tools.bench.soak $(ARGS)

lint: $(VENV_STAMP)
	$(VENV_PYTHON) -m ruff check .
	@mkdir -p .mypy_cache/package/saeuron_pack
	@ln -sfn ../../../nodes ../../../saeuron .mypy_cache/package/saeuron_pack/  # why: see [tool.mypy] in pyproject.toml
	$(VENV_PYTHON) -m mypy

clean:
	rm -rf output/demo .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/.pytest_cache tests/.hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.host/*' -prune -exec rm -rf {} +
