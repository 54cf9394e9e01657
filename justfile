# Plain commands under short names; `just` alone lists them.

e2e_dir := env("E2E_DIR", justfile_directory() / "target/e2e")

[private]
default:
    @just --list --unsorted

# Everything, for use on this machine
build:
    cargo build --release

# Everything that needs no server
test *args:
    cargo test {{args}}

# A thousand worlds where everything goes wrong; `just sim --seed 7` runs one again, `--trace` tells all of it
sim *args:
    cargo test --test sim -- {{args}}

# Formatting and lints, as the CI has them
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Licences, bans and sources of dependencies
deny:
    cargo deny check licenses bans sources

# The servers of the end-to-end suite
e2e-install:
    E2E_DIR="{{e2e_dir}}" tests/e2e/install

# Against real servers; none may be missing
e2e *args: e2e-install
    E2E_DIR="{{e2e_dir}}" ROSTERD_E2E=require cargo test --test e2e -- {{args}}

# Takes the guard of each law out in turn, and expects its named test to go red
laws *args:
    tests/laws/run {{args}}

# Outside bytes for every parser, so many seconds each
fuzz seconds="15" *targets:
    fuzz/run {{seconds}} {{targets}}

# Kills a running daemon so many times, against real servers
kill times="30": e2e-install
    E2E_DIR="{{e2e_dir}}" ROSTERD_E2E=require ROSTERD_KILLS={{times}} cargo test --test e2e kill:: -- --nocapture

# How many small mistakes in src/plan the tests of plans find
mutants *args:
    tests/mutants/run {{args}}

# What rosterd costs, as ratios to barer programs; `--small` for a minute's worth, and numbers of rows
bench *args:
    cargo build --release
    cargo build --release --manifest-path benches/Cargo.toml
    benches/target/release/rosterd-bench {{args}}

# Pieces of the long reliability runs; without arguments they are listed
long *args:
    .ci/long {{args}}

# The metrics, as Prometheus judges them
promtool: e2e-install
    PATH="{{e2e_dir}}/bin:$PATH" ROSTERD_E2E=require cargo test --test it metrics::

# The sample company on its embedded directory
try:
    cargo run --release -- run -f manifests

# What the CI runs
ci:
    .ci/run
