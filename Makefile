# Everything a contributor runs. `make help` lists the targets.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Extra arguments for the program behind a target: make demo ARGS="--epochs 2"
ARGS ?=

# The interpreter that makes the environment: the first one from 3.11 on that can make one.
# Another is chosen by `make test PYTHON=python3.13`.
ifndef PYTHON
PYTHON := $(shell for candidate in $$(type -aP python3.11 python3.12 python3.13 python3.14 python3); do \
	if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$candidate; break; fi; done)
endif

# A newer pip is no news to whoever runs the tests.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help test coverage demo docs links dist dist-arm arm-tools demo-distributed lint format types differences accuracy bench platforms conformance sanitize test-arm test-clang clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: $(VENV)/.installed-test  ## Run the whole test suite (ARGS: further pytest arguments)
	INOX_REQUIRE_PEERS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

coverage: $(VENV)/.installed-coverage  ## Run the suite and tell which lines it doesn't reach (ARGS as for test)
	mkdir -p build/coverage
	INOX_REQUIRE_PEERS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term --cov-report=html $(ARGS)
	@echo "build/coverage/html/index.html"

demo: $(VENV)/.installed-demo  ## Train the digits example four ways (ARGS="--help" tells its options)
	$(BIN)/python examples/digits/run.py $(ARGS)

# Warnings are errors: a reference that leads nowhere, a cell that raises, a public name on no page.
docs: $(VENV)/.installed-docs  ## Build the site of docs/ into build/site, and run what its pages compute
	$(BIN)/python -m sphinx -b html -E -W --keep-going -q $(ARGS) docs build/site
	@echo "build/site/index.html"

links: $(VENV)/.installed-docs  ## Ask for every address that the site links to
	$(BIN)/python -m sphinx -b linkcheck -q -D nb_execution_mode=off docs build/links

demo-distributed: $(VENV)/.installed-demo  ## Train in two processes joined by JAX, and compare with one (ARGS="--help")
	$(BIN)/python examples/distributed/run.py $(ARGS)

CXX_SOURCES := $(wildcard csrc/*/*.cc)
CXX_FILES := $(CXX_SOURCES) $(wildcard csrc/*.h csrc/*/*.h)
# As CMakeLists.txt compiles them. One instruction set and one element type do for the check: those
# that most of the code is for.
TIDY_FLAGS := -std=gnu++17 -Icsrc -DINOX_UNIT=avx512 -DINOX_ELEMENT=kBFloat16
ifeq ($(shell uname -m),x86_64)
TIDY_FLAGS += -DINOX_HAS_X86_UNITS -DINOX_HAS_AVX512_UNIT -march=x86-64-v4
endif

lint: $(VENV)/.installed-lint  ## Check formatting and lint of Python and C++, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	@echo "clang-tidy $(CXX_SOURCES)"
	@include=$$($(BIN)/python -c "import jaxlib, pathlib; print(pathlib.Path(jaxlib.__file__).parent)")/include && \
	printf '%s\n' $(CXX_SOURCES) | xargs -P 2 -I {} $(BIN)/clang-tidy --quiet {} -- $(TIDY_FLAGS) -isystem $$include

format: $(VENV)/.installed-lint  ## Format the sources of both and apply the lint's safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CXX_FILES)

# The adapters' classes are the frameworks' own, so the frameworks must be there.
types: $(VENV)/.installed-lint $(VENV)/.installed-test  ## Check the types of the package, strictly
	$(BIN)/pyright

differences: $(VENV)/.installed-test  ## Measure where our layers differ from a framework's own, for docs/interop.md
	$(BIN)/python -m benchmarks.differences

accuracy: $(VENV)/.installed-test  ## Measure rounding errors beside other libraries (minutes)
	$(BIN)/python -m benchmarks.accuracy $(ARGS)

bench: $(VENV)/.installed-bench  ## Measure speed beside other libraries (ARGS="--quick"; "--help" tells all)
	$(BIN)/python -m benchmarks.speed $(ARGS)

# Compilers in an environment of their own, version by version. The package runs from its sources.
PLATFORMS := .venv-platforms
platforms: $(PLATFORMS)/.installed  ## Compile for TPU and GPU without one, and count bytes (ARGS="--quick"; "--help" tells all)
	PYTHONPATH=src $(PLATFORMS)/bin/python -m benchmarks.platforms $(ARGS)

$(PLATFORMS)/.installed: benchmarks/platforms/requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv found: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(PLATFORMS)
	$(PLATFORMS)/bin/python -m pip install --quiet --requirement $<
	@touch $@

conformance: $(VENV)/.installed-conformance  ## Run the frameworks' own tests on our classes (ARGS="--only linen"; "--help" tells all)
	$(BIN)/python -m conformance $(ARGS)

# The source distribution, and the wheel that is made of it, named for the oldest glibc that it runs
# on. The wheel is built of the unpacked source distribution, whose tests then try it, with the oldest jax and the newest, in an environment that no checkout is in.
DIST := build/dist
OLDEST_JAX := $(shell sed -n 's/^requires = .*"jaxlib==\([0-9.]*\)".*/\1/p' pyproject.toml)
# What was linked, what is lowered to it, its numbers.
DIST_TESTS := tests/test_version.py tests/kernels/test_library.py tests/kernels/test_lowering.py \
  tests/kernels/test_native_shapes.py
AUDITWHEEL := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m auditwheel
dist: $(VENV)/.installed-dist  ## Build the source distribution and the wheel into dist/, check and try them
	rm -rf dist $(DIST)
	$(BIN)/python -m build --sdist
	mkdir -p $(DIST)/sources && tar -xf dist/*.tar.gz -C $(DIST)/sources --strip-components=1
	$(BIN)/python -m build --wheel --outdir $(DIST) $(DIST)/sources
	$(AUDITWHEEL) repair --wheel-dir dist $(DIST)/*.whl
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m venv $(DIST)/tried
	@cd $(DIST)/sources && for jax in jax==$(OLDEST_JAX) jax; do \
	  ../tried/bin/python -m pip install --quiet --upgrade ../../../dist/*$(shell uname -m).whl $$jax hypothesis pytest && \
	  ../tried/bin/python -m inox && \
	  INOX_REQUIRE_KERNELS=1 ../tried/bin/python -m pytest -q $(DIST_TESTS) || exit 1; \
	done
	@ls -l dist

# For what is compiled here for AArch64, and run in an emulator.
EMULATOR := qemu-aarch64 -L /usr/aarch64-linux-gnu
arm-tools:
	@if [ "$$(uname -m)" = aarch64 ]; then echo "This is AArch64: make test and make dist are for it." >&2; exit 1; fi
	@for tool in aarch64-linux-gnu-g++ qemu-aarch64; do \
	  command -v $$tool > /dev/null || { \
	    echo "$$tool is missing. On Debian and Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; \
	    exit 1; }; \
	done

# An emulator runs the kernels' tests (test-arm), but no jax: of the library it is seen that the
# loader finds all that it asks for.
dist-arm: arm-tools $(VENV)/.installed-dist  ## Add the wheel for AArch64 to what `make dist` has built, by a cross compiler
	@test -d $(DIST)/sources || { echo "There is no source distribution to build of: make dist" >&2; exit 1; }
	rm -rf $(DIST)/aarch64 dist/*aarch64.whl
	$(BIN)/python -m build --wheel --outdir $(DIST)/aarch64 \
	  -C wheel.tags=py3-none-linux_aarch64 \
	  -C cmake.define.CMAKE_TOOLCHAIN_FILE=$(CURDIR)/$(DIST)/sources/cmake/aarch64.cmake $(DIST)/sources
	$(AUDITWHEEL) repair --wheel-dir dist $(DIST)/aarch64/*.whl
	$(BIN)/python -m twine check --strict dist/*aarch64.whl
	$(BIN)/python -m zipfile -e dist/*aarch64.whl $(DIST)/aarch64
	$(EMULATOR) -E LD_TRACE_LOADED_OBJECTS=1 -E LD_BIND_NOW=1 -E LD_WARN=1 \
	  /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 \
	  $(DIST)/aarch64/inox/kernels/cpu/lib/libinox_kernels.so 2>&1 | tee $(DIST)/aarch64/loaded
	@grep -q "libc.so.6 => /" $(DIST)/aarch64/loaded && ! grep -E "not found|undefined" $(DIST)/aarch64/loaded
	@ls -l dist

# Without a number CMake starts a compiler for every object at once, of half a gigabyte each.
JOBS := $(shell getconf _NPROCESSORS_ONLN)

# The kernels' own test program, with each set of sanitizers and each instruction set. It says
# "skipped" for one that this processor lacks.
SANITIZERS ?= address,undefined thread
CASES ?= 400
sanitize: ## Run the kernels' tests under the address, undefined behaviour and thread sanitizers
	@set -e; for sanitizer in $(SANITIZERS); do \
	  folder=build/sanitize-$${sanitizer%%,*}; \
	  cmake -S . -B $$folder -DINOX_BUILD_TESTS=ON -DINOX_BUILD_LIBRARY=OFF -DINOX_SANITIZE=$$sanitizer; \
	  cmake --build $$folder --parallel $(JOBS); \
	  for instructions in baseline avx2 avx512; do \
	    echo "== $$sanitizer sanitizer, $$instructions"; \
	    INOX_INSTRUCTION_SET=$$instructions $$folder/inox_kernels_test $(CASES); \
	  done; \
	done

# Emulated instructions take some 20 times as long: fewer cases.
ARM_CASES ?= 120
test-arm: arm-tools  ## Compile the kernels for AArch64 and run their own tests in an emulator
	cmake -S . -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/aarch64.cmake \
	  -DINOX_BUILD_TESTS=ON -DINOX_BUILD_LIBRARY=OFF
	cmake --build build/aarch64 --parallel $(JOBS)
	$(EMULATOR) build/aarch64/inox_kernels_test $(ARM_CASES)

test-clang:  ## Compile the kernels with Clang and run their own tests with each instruction set
	@command -v clang++ > /dev/null || { \
	  echo "clang++ is missing. On Debian and Ubuntu: apt-get install clang" >&2; exit 1; }
	cmake -S . -B build/clang -DCMAKE_CXX_COMPILER=clang++ -DINOX_BUILD_TESTS=ON -DINOX_BUILD_LIBRARY=OFF
	cmake --build build/clang --parallel $(JOBS)
	@set -e; for instructions in baseline avx2 avx512; do \
	  INOX_INSTRUCTION_SET=$$instructions build/clang/inox_kernels_test $(CASES); \
	done

clean:  ## Remove the environment, caches and what builds and the demo wrote
	rm -rf $(VENV) $(PLATFORMS) build dist out .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp again, because an interrupted venv leaves a python without pip behind.
$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv found: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The package itself, editable, so that its Python sources may change freely. It is built once for
# all sets of requirements, and again when pyproject.toml or the kernels change.
$(VENV)/.built: pyproject.toml CMakeLists.txt $(wildcard cmake/*/* csrc/* csrc/*/*) | $(VENV)/.created
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# One stamp for each set of requirements: a second call installs nothing. The package is there, so pip
# installs what its extra asks for beside it.
$(VENV)/.installed-test: EXTRAS := test,peers
$(VENV)/.installed-coverage: EXTRAS := coverage
$(VENV)/.installed-demo: EXTRAS := demo
$(VENV)/.installed-bench: EXTRAS := bench,peers
$(VENV)/.installed-conformance: EXTRAS := conformance
$(VENV)/.installed-lint: EXTRAS := lint
$(VENV)/.installed-docs: EXTRAS := docs
$(VENV)/.installed-dist: EXTRAS := dist
$(VENV)/.installed-%: $(VENV)/.built
	$(BIN)/python -m pip install --quiet "inox-normalization[$(EXTRAS)]"
	@touch $@
