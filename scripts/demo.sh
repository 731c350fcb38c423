#!/usr/bin/env bash
# A real mesh on this machine in one command: builds `chorus` and runs `chorus demo`.
#
#   scripts/demo.sh [--keep] [--dir D] [--nodes N] [--json]
#
# What is missing on Debian or Ubuntu is installed first (compilers and make); Rust must
# be there. The first build takes some minutes. Progress is on stderr, the picture on stdout.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/needs.sh
. "$here/scripts/needs.sh"

need_rust
need_compilers
# From inside the workspace, so that rust-toolchain.toml counts; then back, so that a
# relative --dir means what the caller meant.
(cd "$here" && cargo build --release --locked -p chorus-node) >&2
exec "${CARGO_TARGET_DIR:-$here/target}/release/chorus" demo "$@"
