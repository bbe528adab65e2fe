# leverd: every target sets up what it needs (scripts/setup.sh), so a fresh clone needs git and make only.
# Kept to what GNU make 3.81, which macOS has, understands.

# With a SHELL of its own, make 3.81 hands every line to it, and so to the PATH below.
SHELL := /bin/bash
# rustup's programs, also right after their installation.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# Not LEVERD: that names another build to the scripts, and make would hand this one on in its place.
PROGRAM := $(or $(CARGO_TARGET_DIR),target)/debug/leverd
# CI says --locked; a person may change Cargo.toml.
CARGO_FLAGS ?=
# The scripts need not build again.
BUILT := LEVERD_IS_BUILT=yes

.DEFAULT_GOAL := help
.PHONY: help performance-baseline performance-tuning performance-status check-health gauntlet faults placebo placebo-live placebo-record \
	dev-up dev-down setup-macos-monitoring build test scenarios lint fmt bench bench-migration bench-adjust check-macos docs \
	clean setup-run setup-test setup-bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' Makefile

performance-tuning: build ## Bring Postgres back inside its levels (MAX_CYCLES=5, SCENARIO=wal-storm)
	@$(BUILT) ./scripts/run_tuning_loop.sh

performance-baseline: build ## Write down in baseline.yaml what is normal
	@$(BUILT) ./scripts/take_baseline.sh

performance-status: build ## Show the signals against their levels, open trials, kept changes
	@$(PROGRAM) status

check-health: build ## Check the configuration, and that all it names answers
	@$(BUILT) ./scripts/check_health.sh

dev-up: ## Start Postgres, its load, Prometheus, Grafana, Alertmanager and leverd in containers (LEVERD_ENVIRONMENT=staging)
	@./scripts/dev_up.sh

dev-down: ## Stop what dev-up started; its data stays
	@./scripts/dev_down.sh

setup-macos-monitoring: ## On a Mac: node_exporter and leverd's exporter for the temperature, as services
	@./scripts/setup_macos_exporter.sh

gauntlet: build ## Compare leverd with other strategies (ONLY=wal-storm STRATEGIES=leverd,playbook REPEAT=3 SEED=1)
	@$(PROGRAM) gauntlet $(if $(ONLY),--only $(ONLY)) $(if $(STRATEGIES),--strategies $(STRATEGIES)) \
		$(if $(REPEAT),--repeat $(REPEAT)) $(if $(SEED),--seed $(SEED)) $(if $(CYCLES),--cycles $(CYCLES)) \
		$(if $(SCENARIOS),--scenarios $(SCENARIOS))

build: setup-run ## Build target/debug/leverd
	@cargo build $(CARGO_FLAGS)

test: setup-test ## Run all tests
	@CARGO_FLAGS="$(CARGO_FLAGS)" ./scripts/run_tests.sh

scenarios: setup-test ## Run also the scenarios whose level is a latency: minutes each, on a machine where nothing else happens
	@cargo test $(CARGO_FLAGS) --test integration -- measured::scenarios measured::stack --include-ignored --test-threads=1 --nocapture

lint: setup-test ## Check format, lints and documentation
	cargo fmt --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps --document-private-items

fmt: setup-test ## Format the code
	cargo fmt

bench: setup-test ## Measure the exporter beside other exporters, and the webhook beside Alertmanager's API
	@./scripts/bench_exporter.sh
	@./scripts/bench_webhook.sh

bench-migration: setup-bench ## Measure a migration beside pgcopydb, pg_dump, pgloader and a COPY pipe (SHORT=1 ROUNDS=3 ONLY=wide)
	@SHORT=$(SHORT) ONLY=$(ONLY) ROUNDS=$(or $(ROUNDS),3) ./scripts/bench_migration.sh

bench-adjust: setup-run ## Measure what adjusting a migration while it runs is worth (SHORT=1 PAIRS=8)
	@SHORT=$(SHORT) PAIRS=$(or $(PAIRS),$(if $(SHORT),4,8)) ./scripts/bench_adjust.sh

faults: setup-test ## Play 100,000 seeds, then break leverd, its files and its servers (KILLS=300, ROUNDS=10, SEED=1)
	LEVERD_SIMULATION_SEEDS=$(or $(SEEDS),100000) cargo test $(CARGO_FLAGS) --lib simulation -- --nocapture
	LEVERD_KILLS=$(or $(KILLS),300) LEVERD_FAULT_ROUNDS=$(or $(ROUNDS),10) LEVERD_SEED=$(or $(SEED),1) LEVERD_EVERY_POINT=yes \
		cargo test $(CARGO_FLAGS) --test integration -- crash:: faults:: migrate::what_is_killed --nocapture --test-threads=1

# Trials a cell: 300 takes some minutes, 2000 half an hour.
PLACEBO_TRIALS ?= 300
placebo: setup-test ## Measure how often the verdict errs where nothing changes, with intervals (PLACEBO_TRIALS=300)
	@JUDGE_TRIALS=$(PLACEBO_TRIALS) cargo test $(CARGO_FLAGS) --lib -- --nocapture --test-threads=1 \
		judge::rates judge::alarm_rates judge::recorded

placebo-live: build ## Try levers that change nothing on a real sandbox (TRIALS=8 SCENARIO=healthy CYCLE=30 SANDBOXES=1)
	@./scripts/placebo_live.py --trials $(or $(TRIALS),8) --scenario $(or $(SCENARIO),healthy) \
		--cycle $(or $(CYCLE),30) --sandboxes $(or $(SANDBOXES),1)

# Of a machine where nothing else happens, unless that is what is to be recorded.
placebo-record: build ## Record a sandbox's noise for the placebo (SCENARIO=healthy MINUTES=20)
	@./scripts/record_noise.py --scenario $(or $(SCENARIO),healthy) --minutes $(or $(MINUTES),20)

check-macos: setup-test ## Type-check the macOS code, where its target can be had
	@./scripts/check_macos.sh

docs: setup-run ## Build the code's documentation into target/doc
	cargo doc $(CARGO_FLAGS) --no-deps --document-private-items

clean: ## Remove what was built; configuration, records and the sandbox stay
	cargo clean

setup-run:
	@./scripts/setup.sh --for run

setup-test:
	@./scripts/setup.sh --for test

setup-bench:
	@./scripts/setup.sh --for bench
