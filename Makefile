# A front for CMake, so that the usual things have short names. Everything is built below build/.
#   make BUILD_TYPE=Debug CMAKE_FLAGS=-DCASYNCIO_HTTP=OFF
BUILD_TYPE ?= RelWithDebInfo
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CMAKE_FLAGS ?=
# Of `make demo-web`.
PORT ?= 8080
# What `make check` and `make check-all` go through: those of tools/check.sh that `all` stands for.
STAGES ?= all
# The interpreter that the Python face is built for, and where: Debian's, unless another is named.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYTHON_BUILD = build/python-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
# The generator is chosen once a build directory: Ninja if it is there.
GENERATOR = $(shell test -f build/CMakeCache.txt || { command -v ninja >/dev/null && echo -G Ninja; })
# `make -j demo` is not to hand its job server to a build that counts its own jobs.
CLEAN = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL
BUILD = $(CLEAN) cmake --build build --parallel $(JOBS)

.PHONY: all build configure examples bench demo demo-cluster demo-web docs-pictures check-web test check check-all install clean format check-format python check-python bench-python help
.DEFAULT_GOAL := build

all: build

help:
	@echo 'make demo          install what is missing, build, and show the programs of examples/'
	@echo 'make demo-cluster  install and start a nats-server, and show the two examples that need it'
	@echo 'make demo-web      a chat in the browser: builds and starts it, on 127.0.0.1, port PORT=$(PORT) (0: any)'
	@echo 'make test          one build, and every C test that is not slow: about a minute'
	@echo 'make check         install what is missing, build in every way, run every test: an hour on two cores'
	@echo 'make check-all     the same with what mostly repeats: HTTP under valgrind, every point of failure, ...: two hours'
	@echo 'make               build the libraries and the examples, in build/'
	@echo 'make examples      build/examples/01_hello and the others'
	@echo 'make check-web     install chromium where it is missing, and test the chat in it'
	@echo 'make bench         build and run the benchmarks (docs/benchmarks.md), a minute or two'
	@echo 'make docs-pictures the pictures in docs/pictures, made by the tools that they are of'
	@echo 'make python        the Python package, in build/python-X.Y, for PYTHON=$(PYTHON) (`pip install .` installs it)'
	@echo 'make check-python  and its tests, CPython'"'"'s own for asyncio among them'
	@echo 'make bench-python  and its benchmarks, beside the standard loop and uvloop: some minutes'
	@echo 'make install       into PREFIX=$(PREFIX); DESTDIR is honoured'
	@echo 'make format        clang-format over all C files; make check-format only tells'
	@echo 'make clean         remove build/'
	@echo 'tools/check.sh     the stages of make check, one by one: tools/check.sh gcc asan'
	@echo 'tools/fresh.sh     a make target in a bare Debian 12, or with --suite trixie in a Debian 13'

configure:
	@$(CLEAN) cmake -S . -B build $(GENERATOR) -DCMAKE_BUILD_TYPE=$(BUILD_TYPE) -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_FLAGS)

build: configure
	@$(BUILD)

examples: configure
	@$(BUILD) --target examples

bench: configure
	@$(BUILD) --target bench
	@build/bench/micro
	@for name in sync tasks echo tls udp http websocket memory process; do \
	    test ! -x build/bench/$$name || BENCH_CONTINUED=1 build/bench/$$name || exit 1; \
	done

demo:
	@tools/install_packages.sh demo
	@$(MAKE) --no-print-directory examples
	@tools/demo.sh

demo-cluster:
	@tools/install_packages.sh demo-cluster
	@$(MAKE) --no-print-directory examples
	@$(BUILD) --target casyncio-jobs
	@tools/demo_cluster.sh

demo-web:
	@tools/install_packages.sh demo
	@$(MAKE) --no-print-directory examples
	@test -x build/examples/20_chat_web || { echo 'it needs the HTTP server and WebSockets: see what cmake said' >&2; exit 1; }
	@build/examples/20_chat_web serve $(PORT)

docs-pictures: build
	@tools/pictures.sh

check-web:
	@tools/install_packages.sh web
	@$(MAKE) --no-print-directory examples
	@BUILD_DIR=build SOURCE_DIR=. tests/http/test_chat_browser.sh && echo 'the chat works in chromium'

# What a contributor runs between two edits: one compiler, no sanitizers, no tests of minutes.
test:
	@tools/install_packages.sh check
	@$(CLEAN) cmake -S . -B build/test $$(test -f build/test/CMakeCache.txt || echo -G Ninja) -DCMAKE_BUILD_TYPE=Debug \
	    -DCASYNCIO_TESTS=ON -DCASYNCIO_WERROR=ON >/dev/null
	@$(CLEAN) cmake --build build/test --parallel $(JOBS)
	@ctest --test-dir build/test --parallel $(JOBS) --output-on-failure -LE '^(slow|programs)$$'

check check-all:
	@tools/install_packages.sh check
	@$(CLEAN) SHORT=$(if $(filter check,$@),1) tools/check.sh $(STAGES)

python:
	@$(PYTHON) python/backend.py build --output $(PYTHON_BUILD) --jobs $(JOBS)
	@echo 'PYTHONPATH=$(PYTHON_BUILD)'

check-python: python
	@$(PYTHON) tests/python/run.py --build $(PYTHON_BUILD)

bench-python: python
	@$(PYTHON) bench/python/bench.py --casyncio $(PYTHON_BUILD) $(BENCH)

install: build
	@$(CLEAN) cmake --install build

clean:
	rm -rf build

format:
	@tools/format.sh

check-format:
	@tools/format.sh --check
