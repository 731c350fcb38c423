#!/usr/bin/env bash
# The whole gate: format, lints, tests, and the scripts against real processes.
#
#   scripts/test.sh           everything
#   scripts/test.sh --quick   format, lints and the tests beside the code; not the
#                             slow ones in files of their own, nor real processes
#
# What is missing on Debian or Ubuntu is installed first. Each step is timed, all of
# them run, the last line sums up. A test that cannot run here prints a line
# `skipped: NAME reason`; it is counted as skipped and never as passed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/needs.sh
. scripts/needs.sh
# shellcheck source=scripts/counting.sh
. scripts/counting.sh

quick=false
case "${1:-}" in
"") ;;
--quick) quick=true ;;
*)
    echo "usage: scripts/test.sh [--quick]" >&2
    exit 2
    ;;
esac

locked=()
if [ "${CI:-}" = true ]; then
    # A clone that is new each time would build everything anew.
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/chorus
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
    locked=(--locked)
    # Each clone leaves its own crates behind, so the folder is emptied when it has grown.
    if [ -d "$cache/target" ] && [ "$(du -sm "$cache/target" | cut -f1)" -gt 12000 ]; then
        rm -rf "$cache/target"
    fi
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
logs=$target/gate
mkdir -p "$logs"
# A node with a hundred children holds some hundreds of sockets.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# Most tests wait for processes most of the time, so more than one a core run at once.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 2))}

# step NAME COMMAND...: runs it, counted; its whole output is in the log, and what failed
# at the end.
step() {
    local name=$1 log=$logs/$1.log
    shift
    counted "$log" "$@"
    if [ "$bad" -gt 0 ]; then
        echo "FAILED  $name in $took s (all of it: $log)"
    else
        grep -E '^(test .* )?skipped: ' "$log" || true
        echo "ok      $name in $took s ($ok passed, $missed skipped)"
    fi
}

# In a step `set -e` does not hold, so what follows is chained by hand.
scripts_parse() {
    local script
    for script in .ci/run scripts/*.sh; do bash -n "$script" || return 1; done
}

stranger_joins() {
    cargo build "${locked[@]}" -p chorus-node &&
        need_python "$target/venv" &&
        bash scripts/test_agent.sh "$target/debug/chorus" "$target/venv/bin/python"
}

# The short drill of faults, at processes in namespaces or at containers.
drill() {
    CHORUS=$target/debug/chorus CHORUS_IMAGE=chorus:gate \
        scripts/chaos.sh drill --short --world "$1"
}

compose_drill() {
    if (docker_client) >/dev/null 2>&1; then
        scripts/image.sh --tag chorus:gate || return 1
    fi
    drill compose
}

echo "toolchain $(sed -nE 's/^channel = "(.*)"/\1/p' rust-toolchain.toml), target $target"
need_rust
need_compilers

step format cargo fmt --all --check
step lints cargo clippy "${locked[@]}" --workspace --all-targets -- -D warnings
step scripts scripts_parse
if $quick; then
    step tests cargo test "${locked[@]}" --workspace --lib --bins --no-fail-fast -- --show-output
    step house cargo test "${locked[@]}" -p chorus-tests --test layering --test tidy
else
    # Only root can make network namespaces; for anybody else those tests skip.
    [ "$(id -u)" != 0 ] || need_packages iproute2 nftables
    # A test that hangs is named, and what comes after it still runs.
    step tests timeout --kill-after=10 2400 \
        cargo test "${locked[@]}" --workspace --no-fail-fast -- --show-output
    step stranger stranger_joins
    step drill drill namespaces
    step containers compose_drill
fi

summed
