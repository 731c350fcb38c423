#!/usr/bin/env bash
# The long forms of the tests (CHORUS_SOAK=1): more seeds, more rounds, larger meshes.
# At most 75 minutes: what does not fit is named and counts as failed.
#
#   scripts/soak.sh [MINUTES]     at most so many; 75 when not said
#
# The gate's profile, because its checks of overflow find what a release build hides;
# the mesh of 30,000 alone runs in release, where it fits. A test that cannot run here
# prints `skipped: NAME reason`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/needs.sh
. scripts/needs.sh

minutes=${1:-75}
case $minutes in
*[!0-9]* | "")
    echo "usage: scripts/soak.sh [MINUTES]" >&2
    exit 2
    ;;
esac
need_rust
need_compilers
# Only root can make network namespaces; for anybody else those tests skip.
[ "$(id -u)" != 0 ] || need_packages iproute2 nftables
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

export CHORUS_SOAK=1
logs=${CARGO_TARGET_DIR:-$PWD/target}/soak
mkdir -p "$logs"
end=$((SECONDS + minutes * 60))
passed=0 failed=0 skipped=0

# suite NAME WORDS...: `cargo test WORDS...`, for as long as there is time.
suite() {
    local name=$1 log=$logs/$1.log begun=$SECONDS left=$((end - SECONDS)) code=0 ok bad missed
    shift
    if [ "$left" -lt 10 ]; then
        failed=$((failed + 1))
        echo "FAILED  $name: no time left"
        return
    fi
    timeout --kill-after=20 "$left" cargo test --locked --no-fail-fast "$@" -- --nocapture \
        >"$log" 2>&1 </dev/null || code=$?
    missed=$(grep -c '^skipped: ' "$log" || true)
    read -r ok bad < <(sed -nE \
        's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; .*/\1 \2/p' "$log" |
        awk '{ ok += $1; bad += $2 } END { print ok + 0, bad + 0 }')
    [ "$code" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    # cargo counts a test that returned early as passed.
    ok=$((ok - missed))
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + missed))
    grep -E '^skipped: |REPRODUCE WITH|frames a round' "$log" || true
    if [ "$bad" -gt 0 ]; then
        tail -n 40 "$log"
        [ "$code" != 124 ] || echo "the time was over"
        echo "FAILED  $name in $((SECONDS - begun)) s (all of it: $log)"
    else
        echo "ok      $name in $((SECONDS - begun)) s ($ok passed, $missed skipped)"
    fi
}

# What is real and short first, the many seeds last.
suite storage -p chorus-storage --test crash --test damage
suite frames -p chorus-protocol --test golden
suite phase -p chorus-protocol --test phase_table
suite kill -p chorus-node --test kill
suite fabric -p chorus-node --test fabric
suite scale --release -p chorus-tests --test sim_scale
suite heal -p chorus-tests --test sim_heal
suite eviction -p chorus-tests --test sim_eviction
suite clock -p chorus-tests --test sim_clock
suite roster -p chorus-tests --test sim_roster
suite branch -p chorus-tests --test sim_branch

echo "all of it in $SECONDS s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
