# Targets:
# - make demo         turns a recipe into a cluster of three hosts
# - make test         runs make static and make build, compiles the tests with clippy, and runs the
#                     tests. One test installs a virtual machine with an empty disk from the network
# - make test-vm      installs virtual machines with empty disks from the network: one machine, one
#                     machine with a power cut, and a cluster of three machines, one of which
#                     returns with a blank disk. The target needs 8 GiB of memory. The cluster
#                     alone takes 10 minutes on 2 cores
# - make test-all     runs make lint, runs the tests of make test with more versions, crash points
#                     and firmware, and tests the board in Chromium
# - make build        builds builder and firstboot, and installs them in target/dist
# - make static       runs rustfmt, and checks the imports, the lengths of the files, and the
#                     dependencies
# - make lint         runs make static and clippy, and checks the links in comments
# - make bench        measures the figures in the README and in docs/guide.md
# - make dist         builds the packages in target/packages: tar.gz, deb and rpm
# - make soak         rebuilds members under load, for hours
# - make crash-sweep  kills firstboot or cuts the power at every crash point, which takes hours.
#                     CRASH_SCENARIO=rebuild runs one scenario, and CRASH_PART=1/4 runs a quarter of
#                     the points. The four parts can run in parallel
# - make clean        removes target, .cache and out
#
# Every target except build, static, lint and clean installs the missing programs that it needs, and
# prints the names of their packages. Without root, the target only prints the names.
# Settings:
# - KEEP=1 leaves the demo's hosts running.
# - HOURS=8 makes the soak longer, and SEED=… repeats the random choices of an earlier soak.
# - ETCD_VERSION=3.6.16 runs the bootstrap tests, the soak and the crash sweep with that etcd
#   instead of 3.5.1. In any case, make test runs a full lifecycle with etcd 3.4 and 3.7, and make
#   test-all runs it with 3.5 and 3.6 as well.

SHELL := bash
TARGET := x86_64-unknown-linux-gnu
DIST := target/dist

.PHONY: build dist demo test test-all test-vm static lint bench soak crash-sweep clean tools

# The sources of the programs, and the commit from which the programs are built. git reads only the
# .git in this folder, because a source archive may be unpacked inside another repository. If the
# sources have uncommitted changes, "-dirty" is appended to the commit.
SOURCES := Cargo.toml Cargo.lock Makefile dist/no-unwind-tables.ld builder firstboot kickstart recipes
GIT := git --git-dir=.git --work-tree=.
COMMIT := $(shell commit=$$($(GIT) rev-parse --short=12 HEAD 2>/dev/null) || exit; \
	test -z "$$($(GIT) status --porcelain -- $(SOURCES))" || commit=$$commit-dirty; echo $$commit)

# The programs are static, because firstboot runs on CentOS 7, whose glibc is older than that of any
# build machine. --target is required, because RUSTFLAGS would otherwise apply to build scripts and
# macros too. Packed relocations make each program a quarter of a megabyte smaller. The libc that is
# linked into the program reads these relocations, so the program runs on any kernel. The linker
# script makes each program almost a megabyte smaller. The script needs GNU ld, because LLVM's
# linker cannot discard the unwind tables of some object files and keep those of others. A program's
# panic messages contain the paths of the crates' sources. RUSTFLAGS remaps these paths, so that the
# messages are the same on every machine. The build fetches the crates first, because RUSTFLAGS
# lists the folders of the sources, which Cargo creates while it fetches the crates.
build:
	cargo fetch --locked --target $(TARGET)
	crates=$${CARGO_HOME:-$$HOME/.cargo}/registry/src; \
	RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs \
		-C link-arg=-fuse-ld=bfd -C link-arg=-Wl,-T,$(CURDIR)/dist/no-unwind-tables.ld \
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

test: tools static build
	tests/run.sh

test-all: TOOLS := all
test-all: tools lint build
	ETCD_IMAGE_ALL=1 tests/run.sh

test-vm: tools build
	cargo test --locked -q -p tests --test serve -- vm

crash-sweep: tools build
	CRASH_POINTS=all cargo test --locked -q -p tests --test crash -- point

static:
	cargo fmt --check
	@# Fails if the files of a crate import each other in a cycle, or if a file is too long. The compiler checks neither.
	cargo run --locked -q -p lint -- .
	@if ! command -v cargo-deny >/dev/null; then echo 'skipped: dependencies: cargo-deny is not installed'; \
	else cargo deny check bans licenses sources && if cargo deny fetch db >/dev/null 2>&1; \
		then cargo deny check --disable-fetch advisories; \
		else echo 'skipped: advisories: github.com/rustsec/advisory-db cannot be fetched'; fi; fi

lint: static
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@# Fails if a comment links to an item that does not exist.
	RUSTDOCFLAGS='-D rustdoc::broken_intra_doc_links -A rustdoc::private_intra_doc_links' cargo doc --workspace --locked --no-deps --document-private-items -q

bench: tools build
	cargo run --locked -q --release -p tests --bin bench

# make soak runs laps of 20 rounds until HOURS hours have passed. ROUNDS sets the number of rounds
# in a lap.
soak: tools build
	HOURS=$${HOURS:-4} cargo test --locked -q -p tests --test bootstrap -- rebuilds_under_load

clean:
	cargo clean
	rm -rf .cache out

tools:
	@tests/tools.sh $(TOOLS)
