# make demo   the main job, to watch            make test   the tests
# make test-all  the tests, and those that widen a sample: more versions, more points of a crash, more firmware
# make build  both programs, in target/dist     make lint   format, clippy, import cycles, dependencies
# make bench  the measurements in the README    make clean  what was built and cached
# make dist   the packages, in target/packages: tar.gz, deb and rpm
# make soak   rebuilds under load, for hours
# make crash-sweep  firstboot killed, and its power cut, at every point: hours. CRASH_SCENARIO=rebuild does one scenario,
#             CRASH_PART=1/4 a quarter of the points: four of these may run side by side
#
# Each installs what it needs itself (apt-get, pip) and says so. Settings: KEEP=1 leaves the demo's hosts on; HOURS=8
# makes the soak longer, and SEED=… draws what an earlier one drew; ETCD_VERSION=3.6.16 has the bootstrap tests, the soak
# and the crash sweep run with another etcd than 3.5.1 (make test lives a whole life with four others anyhow).

SHELL := bash
TARGET := x86_64-unknown-linux-gnu
DIST := target/dist

.PHONY: build dist demo test test-all lint bench soak crash-sweep clean tools

# What the programs are made of, and the commit they are made from. Only .git of this folder counts: sources without one may
# be unpacked inside another repository. A change after the commit is named.
SOURCES := Cargo.toml Cargo.lock Makefile builder firstboot kickstart recipes
GIT := git --git-dir=.git --work-tree=.
COMMIT := $(shell commit=$$($(GIT) rev-parse --short=12 HEAD 2>/dev/null) || exit; \
	test -z "$$($(GIT) status --porcelain -- $(SOURCES))" || commit=$$commit-dirty; echo $$commit)

# Static: firstboot runs on CentOS 7, whose glibc is older than any that builds it. RUSTFLAGS needs the target named,
# or it would be taken for build scripts and macros too. Packed relocations: a quarter of a megabyte less; it is libc in the
# program itself that reads them, so the kernel does not matter. The paths of the crates' sources stand in the program's panic
# messages: remapped, they are the same on every machine. They are known once the crates are fetched.
build:
	cargo fetch --locked --target $(TARGET)
	crates=$${CARGO_HOME:-$$HOME/.cargo}/registry/src; \
	RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs \
		$$(printf -- '--remap-path-prefix=%s=/crates ' "$$crates"/*/)" ETCD_IMAGE_COMMIT=$(COMMIT) \
		cargo build --release --locked --target $(TARGET) -p builder -p firstboot
	@mkdir -p $(DIST)
	@install -m 0755 target/$(TARGET)/release/builder target/$(TARGET)/release/firstboot $(DIST)/
	@ls -l $(DIST)

dist: tools build
	dist/packages.sh $(DIST) target/packages

demo: TOOLS := demo
demo: tools build
	cargo run --locked -q -p tests --bin demo

test: tools lint build
	tests/run.sh

test-all: tools lint build
	ETCD_IMAGE_ALL=1 tests/run.sh

crash-sweep: tools build
	CRASH_POINTS=all cargo test --locked -q -p tests --test crash -- point

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@# A comment that links to an item by a name that it no longer has.
	RUSTDOCFLAGS='-D rustdoc::broken_intra_doc_links -A rustdoc::private_intra_doc_links' cargo doc --workspace --locked --no-deps --document-private-items -q
	@# Fails where the files of a crate import each other in a circle, or a file is too long. No compiler checks that.
	cargo run --locked -q -p lint -- .
	@if ! command -v cargo-deny >/dev/null; then echo 'skipped: dependencies: cargo-deny is not installed'; \
	else cargo deny check bans licenses sources && if cargo deny fetch db >/dev/null 2>&1; \
		then cargo deny check --disable-fetch advisories; \
		else echo 'skipped: advisories: github.com/rustsec/advisory-db cannot be fetched'; fi; fi

bench: tools build
	cargo run --locked -q --release -p tests --bin bench

# Laps of 20 rounds, until the hours are over. ROUNDS makes a lap longer.
soak: tools build
	HOURS=$${HOURS:-4} cargo test --locked -q -p tests --test bootstrap -- rebuilds_under_load

clean:
	cargo clean
	rm -rf .cache out

tools:
	@tests/tools.sh $(TOOLS)
