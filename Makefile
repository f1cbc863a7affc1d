# All that a newcomer needs. `make run` and `make test` install what is missing first, as root or with sudo.

.PHONY: help run test ready bench faults lint fmt snap sqlx audit

help: ## This list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: ## Debunk and the demo shop; prints the addresses to open
	@tools/run.sh

test: ## All tests, on a private PostgreSQL
	@tools/install.sh test
	cargo test --locked

lint: ## Formatting and lints, warnings denied
	@tools/install.sh
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings

ready: lint test ## What a change must pass

bench: ## How fast it is, as ratios to limits measured in the same run
	@tools/install.sh
	cargo bench --locked --bench speed

faults: ## What happens when things fail: the fault matrix, printed and written to docs/faults.md
	@tools/install.sh
	@tools/faults.sh

fmt: ## Formats the sources
	cargo fmt

snap: ## Accepts changed snapshots; look at the difference before committing
	@tools/install.sh
	INSTA_UPDATE=always cargo test --locked

sqlx: ## Refreshes .sqlx/ after a change of a query or a migration
	@tools/install.sh
	@tools/sqlx.sh

audit: ## Licences, sources and advisories of dependencies
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --locked check
