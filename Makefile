# make run     builds stayd and runs its demo in this terminal
# make check   everything that needs no service: format, lints, docs, the house rules, macOS where it can be checked
# make test    every test; first installs the programs that they run. Tests that need root run only as root
# make soak    stayd killed at 10,000 random instants and at every failpoint, and sockets under load: twenty minutes; STAYD_SOAK_SEED=n for others
# make bench   costs: memory, wake-ups, time from kill to exec, captured output beside s6-log and svlogd

CARGO ?= cargo
# Arguments of the test harness: as root they include the tests marked #[ignore = "needs root"].
HARNESS = $$(tests/support/setup.sh --arguments)
# Every test program but `real`.
QUICK = $(filter-out real,$(patsubst tests/%.rs,%,$(wildcard tests/*.rs)) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)))
DARWIN_CHECK ?= ../shared/tools/darwin-check

.PHONY: run check format lint document house darwin test soak needs bench

run:
	$(CARGO) run --release -- demo

check: format lint document house darwin

format:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings

document:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --locked --no-deps --document-private-items

# Imports between modules, file lengths, banned calls, `decide` compiled alone, documents true to the code.
house:
	$(CARGO) test --locked --test house

darwin:
	@if [ -x "$(DARWIN_CHECK)" ]; then "$(DARWIN_CHECK)" --clippy --all-targets --locked -- -D warnings; \
	else echo "darwin: not checked, there is no $(DARWIN_CHECK)"; fi

# The tests with real processes come last: they take the longest, and what they print of a failure is then at the end.
test: needs
	$(CARGO) test --locked --no-fail-fast --lib --bins $(QUICK:%=--test %) -- $(HARNESS)
	$(CARGO) test --locked --doc
	$(CARGO) build --locked --examples
	$(CARGO) test --locked --test real -- $(HARNESS)

# In a build with debug assertions: no other has failpoints (src/act/failpoint.rs).
soak:
	$(CARGO) build --locked --examples
	STAYD_SOAK_ROUNDS=10000 STAYD_SOAK_SOCKET_KILLS=1000 STAYD_SOAK_SOCKET_CRASHES=100 \
	$(CARGO) build --locked --examples
	$(CARGO) test --locked --test real -- --nocapture $(HARNESS) stayd_crashes sockets_service_killed sockets_stayd_killed

needs:
	tests/support/setup.sh

bench:
	$(CARGO) bench --locked
