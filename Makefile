# A thin front door: Meson and ninja do the building, scripts/ the rest. `make help` lists the targets.
BUILD := build
OBJ   := $(BUILD)/obj
ASAN  := $(BUILD)/asan

.DEFAULT_GOAL := all
.PHONY: all deps demo test test-unit test-e2e test-long fuzz bench lint format clean help

all: deps ## build everything into build/
	@scripts/build $(OBJ)

deps: ## install what the build needs (Debian packages; libchdb and test data from npm)
	@scripts/bootstrap

demo: all ## the whole idea on real data; DEMO_EXIT=1 ends by itself
	@scripts/demo

test: all ## lint (all but clang-tidy), unit tests under sanitizers, end-to-end tests; ends with "N passed, N failed"
	@scripts/test

test-unit: all ## only the unit tests, under ASan and UBSan
	@scripts/test unit

test-e2e: all ## only the end-to-end tests
	@scripts/test e2e

test-long: all ## the long kill and fuzz loops; races, under TSan
	@scripts/test long

fuzz: all ## every fuzzer for FUZZ_SECONDS (default 60) each
	@scripts/fuzz

bench: all ## speed beside peers, as ratios (docs/bench.md); about two minutes
	@scripts/bench

lint: deps ## layers, banned functions, sizes, formatting, cppcheck, clang-tidy
	@scripts/lint

format: ## clang-format over the tree
	@clang-format -i $$(git ls-files '*.c' '*.h')

clean: ## remove what was built (downloaded dependencies stay)
	@rm -rf $(OBJ) $(ASAN) $(BUILD)/fuzz $(BUILD)/lockset* $(BUILD)/bench* $(BUILD)/gateway-harness $(BUILD)/tests

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14
