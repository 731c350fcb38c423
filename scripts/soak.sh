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
# shellcheck source=scripts/counting.sh
. scripts/counting.sh

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
measured='frames a round|whole after|bad frames|killed: r =|r = .* measured'
# Of the drills the whole table, of the cross build its sizes and what it did.
measured+='|^fault  |  (ok|FAILED)$|^aarch64|both count|resident|the same node'
rows=()

# row RESULT NAME PASSED FAILED SKIPPED SECONDS: one line of the table at the end.
row() {
    rows+=("$(printf '%-7s %-10s %6s %6s %7s %7s' "$@")")
}

# part NAME COMMAND...: runs it, counted, for as long as there is time.
part() {
    local name=$1 log=$logs/$1.log left=$((end - SECONDS)) result=ok
    shift
    if [ "$left" -lt 10 ]; then
        failed=$((failed + 1))
        echo "FAILED  $name: no time left"
        row FAILED "$name" 0 1 0 0
        return
    fi
    echo "begins  $name after $SECONDS s, $((left / 60)) minutes left"
    counted "$log" timeout --kill-after=60 "$left" "$@"
    # What a part measured stands in the record, not only that it passed.
    grep -E "^(test .* )?skipped: |REPRODUCE WITH|$measured" "$log" | cut -c1-200 | sed 's/^/        /' || true
    if [ "$bad" -gt 0 ]; then
        result=FAILED
        [ "$code" != 124 ] || echo "the time was over"
        echo "all of it: $log"
    fi
    printf '%-7s %s in %s s (%s passed, %s skipped)\n' "$result" "$name" "$took" "$ok" "$missed"
    row "$result" "$name" "$ok" "$bad" "$missed" "$took"
}

# suite NAME WORDS...: `cargo test WORDS...`
suite() {
    part "$1" cargo test --locked --no-fail-fast "${@:2}" -- --nocapture
}

# What is real first, the many seeds last.
suite storage -p chorus-storage --test crash --test damage # kills and damage of a store
suite frames -p chorus-protocol --test golden --test fuzz  # a million mutated frames; tokens, items
suite phase -p chorus-protocol --test phase_table          # the table, with 30,000 oscillators
suite flood -p chorus-node --test flood                    # a million bad frames at a live node
suite kill -p chorus-node --test kill                      # 100 kills under load
suite outlives -p chorus-node --test outlives              # 100 kills while it writes, disks destroyed
suite damage -p chorus-node --test damage                  # two nodes of five, damaged 30 times
suite posterity -p chorus-node --test checkpoint           # 100 nodes, of which one survives
suite files -p chorus-node --test memory                   # 200,000 lines in and out, bad ones among them
suite copied -p chorus-node --test copied                  # a home that runs twice
suite half -p chorus-node --test half                      # 15 of 30 real nodes die
suite meshes -p chorus-node --test meshes                  # cuts up to 120 s, losses, pauses, slow legs, restarts
suite scale --release -p chorus-tests --test sim_scale     # a round at 30,000
suite heal -p chorus-tests --test sim_heal                 # 1,000 seeded cuts
suite eviction -p chorus-tests --test sim_eviction
suite clock -p chorus-tests --test sim_clock
suite roster -p chorus-tests --test sim_roster
suite branch -p chorus-tests --test sim_branch
suite liars -p chorus-tests --test sim_liars
suite moves -p chorus-tests --test sim_moves
suite legs -p chorus-tests --test sim_legs
suite memory -p chorus-tests --test sim_history # 200 seeds of faults at replicated memory

# The faults at whole meshes, and the binary for a Pi.
native=${CARGO_TARGET_DIR:-$PWD/target}/debug/chorus
if (docker_client) >/dev/null 2>&1; then
    part image scripts/image.sh --tag chorus:soak
fi
part drill env CHORUS="$native" scripts/chaos.sh drill --world namespaces
part containers env CHORUS_IMAGE=chorus:soak scripts/chaos.sh drill --world compose
part cross scripts/cross.sh

echo
printf '%-7s %-10s %6s %6s %7s %7s\n' result part passed failed skipped seconds
printf '%s\n' "${rows[@]}"
summed
