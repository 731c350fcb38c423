#!/usr/bin/env bash
# The measures: release build, static, on this machine. At most 30 minutes, of which the
# first build takes some.
#
#   scripts/bench.sh [NAME...]    all, or some of: frame store memory checkpoint rest records
#                                 coupling lead many scale arrival tokens registry agents gather
#
# Each line says what was measured and, in brackets, the goal. Nothing fails because it
# was slow; what else runs on the machine is part of what is measured, so the load is
# printed before and after.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/needs.sh
. scripts/needs.sh

names=("$@")
[ ${#names[@]} -gt 0 ] ||
    names=(frame store memory checkpoint rest records coupling lead many scale arrival
        tokens registry agents gather)
for name in "${names[@]}"; do
    case $name in
    frame | store | memory | checkpoint | rest | records | coupling | lead | many | scale) ;;
    arrival | tokens | registry | agents | gather) ;;
    *)
        echo "usage: scripts/bench.sh [frame] [store] [memory] [checkpoint] [rest] [records]" \
            "[coupling] [lead] [many] [scale] [arrival] [tokens] [registry] [agents] [gather]" >&2
        exit 2
        ;;
    esac
done

need_rust
need_compilers
need_packages python3
# A node with a hundred children holds some hundreds of sockets.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# Everything with the same flags and target, so that it is built once.
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-C target-feature=+crt-static"
flags=(--target "$triple" --locked)
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release "${flags[@]}" -p chorus-node
chorus=$target/$triple/release/chorus

load() { echo "load $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) cores"; }
frame() { cargo bench --quiet "${flags[@]}" -p chorus-tests --bench frame; }
store() { cargo bench --quiet "${flags[@]}" -p chorus-tests --bench store; }
checkpoint() { cargo bench --quiet "${flags[@]}" -p chorus-tests --bench checkpoint; }
memory() { cargo bench --quiet "${flags[@]}" -p chorus-actors --bench memory; }
registry() { cargo bench --quiet "${flags[@]}" -p chorus-tests --bench registry; }
floor() { cargo bench --quiet "${flags[@]}" -p chorus-tests --bench floor; }
mesh() { timeout 300 python3 scripts/bench_mesh.py "$chorus" "$@"; }

# The costs of a signature, and of libzmq alone, are measured in the same run as what is
# compared with them.
lead() {
    local sign verify lead agent
    read -r sign verify < <(frame |
        sed -nE 's/^signature: sign ([0-9.]+) us, verify_strict ([0-9.]+) us$/\1 \2/p')
    read -r lead agent < <(floor |
        sed -nE 's/^floor: lead ([0-9.]+) % of a core, agent ([0-9.]+) %.*/\1 \2/p')
    mesh lead "$sign" "$verify" "$lead" "$agent"
}

scale() {
    CHORUS_SOAK=1 timeout 600 cargo test --quiet --release "${flags[@]}" -p chorus-tests \
        --test sim_scale -- --nocapture
}

arrival() { "$chorus" bench arrival && timeout 400 "$chorus" bench agents; }
tokens() { timeout 600 "$chorus" bench tokens; }
# Thirty thousand in ten processes; and a thousand in one, beside as many bare round trips.
agents() {
    timeout 300 "$chorus" bench mesh --agents 30000
    local bare each
    # Not to /dev/stderr, whose file, where it is one, that would empty.
    bare=$(cargo bench --quiet "${flags[@]}" -p chorus-tests --bench round_trips | tee >(cat >&2) |
        sed -nE 's/^round trips: ([0-9.]+) us.*/\1/p')
    each=$(timeout 300 "$chorus" --json bench mesh --agents 1000 --hosts 1 --rounds 200 |
        python3 -c 'import json, sys; rows = json.load(sys.stdin)["rows"]
print(*(row["cpu_us_per_agent"] for row in rows if row["name"] == "every answer"))')
    awk -v bare="$bare" -v each="$each" 'BEGIN {
        printf "1000 agents in one process: %.1f us of CPU an agent, %.2f x of a bare round trip and its signature [goal 3]\n", each, each / bare }'
}

# Beside other systems, as far as they are there: nats-server from the distribution, nats-py and Zenoh
# in the Python that $PYTHON names.
gather() { timeout 300 "${PYTHON:-python3}" scripts/bench_gather.py --chorus "$chorus"; }

echo "$(stat -c %s "$chorus") bytes, $(file -b "$chorus" 2>/dev/null | cut -d, -f1-4 || true)"
load
failed=0
for name in "${names[@]}"; do
    begun=$SECONDS
    echo "== $name"
    case $name in
    frame | store | memory | checkpoint | lead | scale | arrival | tokens | registry | agents | gather) "$name" ;;
    *) mesh "$name" ;;
    esac || { echo "FAILED $name" && failed=1; }
    echo "   ($((SECONDS - begun)) s)"
done
load
echo "all of it in $SECONDS s"
[ "$failed" = 0 ]
