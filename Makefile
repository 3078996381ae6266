# make run     builds stayd and shows what it is for, in this terminal
# make check   everything that needs no service: format, lints, docs, the house rules, macOS where it can be checked
# make test    every test; first fetches what they need, or names what will be skipped
# make soak    stayd killed at 10,000 random moments and at every named step, and sockets under load: twenty minutes; STAYD_SOAK_SEED=n for others
# make bench   costs: memory, wake-ups, time from kill to exec, captured output beside s6-log and svlogd

CARGO ?= cargo
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

# Who imports whom, file lengths, banned calls, `decide` compiled alone, documents true to the code.
house:
	$(CARGO) test --locked --test house

darwin:
	@if [ -x "$(DARWIN_CHECK)" ]; then "$(DARWIN_CHECK)" --clippy --all-targets --locked -- -D warnings; \
	else echo "darwin: skipped, no $(DARWIN_CHECK) here"; fi

test: needs
	$(CARGO) test --locked --no-fail-fast

# A build with debug assertions: only such a one knows the named steps (src/act/failpoint.rs).
soak:
	STAYD_SOAK_ROUNDS=10000 STAYD_SOAK_SOCKET_KILLS=1000 STAYD_SOAK_SOCKET_CRASHES=100 \
	$(CARGO) test --locked --test real -- --nocapture stayd_crashes sockets_service_killed sockets_stayd_killed

needs:
	tests/support/setup.sh

bench:
	$(CARGO) bench --locked
