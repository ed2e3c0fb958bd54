# The verbs of this repository. `make demo` and `make test` do all of their own set-up.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help setup demo test torture torture-power fuzz conformance bench bench-peers services-start services-stop fmt lint

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s%s\n", $$1, $$2 }' Makefile

setup: ## Install what building, the demo and the tests need
	@scripts/setup.sh test

demo: ## The main job on a million real trades (ARGS="--json", DATA=DIR)
	@DATA=$(DATA) scripts/demo.sh $(ARGS)

test: ## Format, lints and every test, against the real services
	@scripts/test.sh

torture: ## The long runs of the torture tests, summed up in bench/torture.tsv (MINUTES=10)
	@scripts/torture.sh $(or $(MINUTES),10)

torture-power: ## Power cuts under the log on ext4, as root with FUSE and loop devices (MINUTES=10 or CUTS=200)
	@CUTS=$(CUTS) scripts/torture-power.sh $(or $(MINUTES),10)

fuzz: ## Every fuzz target for so long; needs nightly and cargo-fuzz (SECONDS=30)
	@scripts/fuzz.sh $(or $(SECONDS),30)

conformance: ## The tests of KurrentDB's Rust clients, against a fresh server
	@scripts/conformance.sh

bench: ## The benchmarks that the README's figures come from (ARGS="--json")
	@scripts/setup.sh demo
	@cargo build --profile dist --locked --package annals --package annals-bench
	@target/dist/annals-bench --trades "$$(scripts/fetch-trades.sh)" $(ARGS)

bench-peers: ## Annals beside UmaDB and a PostgreSQL table, on the first two cores (ARGS="--json")
	@scripts/setup.sh demo
	@cargo build --profile dist --locked --package annals --package annals-bench
	@umadb=$$(scripts/fetch-umadb.sh); taskset -c 0,1 target/dist/annals-bench peers --umadb "$$umadb" $(ARGS)

services-start: ## Start Kafka, the schema registry and PostgreSQL for development
	@scripts/services.sh start
	@scripts/services.sh env

services-stop: ## Stop them
	@scripts/services.sh stop

fmt: ## Format the code
	@cargo fmt --all

lint: ## Lints alone (and cargo-deny, where it is installed)
	@scripts/lint.sh
