# `make demo` and `make test` need Python 3.11 or newer and make; they set up the rest in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
# The build of PyTorch, as uv names it: cpu, auto (by the GPU of this machine), cu130, ...
TORCH ?= cpu

.PHONY: help demo picture test lint docs clean
help:
	@echo "make demo   draw a demo set, scan it, say where the audit is"
	@echo "make test   lint, type check and test"
	@echo "make docs   build the documentation, say where it is"
	@echo "make clean  remove .venv and build/"

demo: $(VENV)/installed
	@rm -rf $(DEMO)/widgets && $(BIN)/python examples/draw_demo.py $(DEMO)/widgets
	$(BIN)/curate scan $(DEMO)/widgets --force -o $(DEMO)/audit

# The picture in README and the screen in the quick start; needs chromium
picture: $(VENV)/installed-dev
	$(MAKE) --no-print-directory --silent demo >examples/demo-screen.txt
	$(BIN)/python examples/readme_picture.py $(DEMO)/audit/report.html examples/report.jpg

# The report is tested in a real browser, Debian's Chromium; without one those tests are skipped, and the end says so.
test: $(VENV)/installed-dev lint
	@command -v chromium >/dev/null || echo "make test: no chromium here, the browser tests are skipped; install it: sudo apt-get install chromium" >&2
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# No page needs the network; the search box needs a server: .venv/bin/python -m http.server -d build/site
docs: $(VENV)/installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Documentation: build/site/index.html"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"curate needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}; call make with PYTHON=python3.12, say")'
	$(PYTHON) -m venv $(VENV)

# uv knows where PyTorch's CPU wheels are. Where they cannot be reached, pip takes what its own index has: on Linux, CUDA.
$(VENV)/torch: | $(BIN)/python
	@{ $(BIN)/python -m pip install --quiet --constraint constraints.txt uv && $(BIN)/uv pip install --quiet --python $(BIN)/python \
	--torch-backend $(TORCH) --constraint constraints.txt torch torchvision; } || echo "make: PyTorch's wheels for TORCH=$(TORCH) cannot \
	be reached; pip takes those of its own index, on Linux with CUDA: 6.5 GB in all instead of 1.6 GB" >&2
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build
