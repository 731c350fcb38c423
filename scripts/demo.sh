#!/usr/bin/env bash
# A real mesh on this machine in one command: builds `chorus` and runs `chorus demo`.
#
#   scripts/demo.sh [--keep] [--dir D] [--nodes N] [--agents N] [--questions N] [--json]
#
# A quarter of the agents stand behind scripts/stub_openai.py, an OpenAI-compatible endpoint
# without a model; `--openai URL` takes a real one in its place.
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
chorus=${CARGO_TARGET_DIR:-$here/target}/release/chorus
case " $* " in *" --openai"*) exec "$chorus" demo "$@" ;; esac
need_packages python3 >&2
told=$(mktemp)
python3 "$here/scripts/stub_openai.py" --answer 'a model heard it' --delay-ms 5 >"$told" &
stub=$!
trap 'kill $stub 2>/dev/null || true; rm -f "$told"' EXIT
until [ -s "$told" ] || ! kill -0 "$stub" 2>/dev/null; do sleep 0.1; done
"$chorus" demo --openai "$(cat "$told")" "$@"
