#!/usr/bin/env bash
# A stranger joins a real mesh: two nodes as processes, and scripts/agent.py, which knows
# nothing but WIRE.md, attaches to the lead of its cluster. Passes when the agent verified
# sums that count it in, the lead called it live, and its answer counted as ready in `gather`,
# at the lead and at the operator, with a T and without.
#
#   scripts/test_agent.sh CHORUS PYTHON    the binary, and a Python with what agent.py needs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
chorus=$1 python=$2
dir=$(mktemp -d)
nodes=()
finish() {
    local code=$?
    [ ${#nodes[@]} = 0 ] || kill "${nodes[@]}" 2>/dev/null || true
    wait
    [ "$code" = 0 ] || tail -n 30 "$dir"/*.log "$dir"/*.out || true
    rm -rf "$dir"
}
trap finish EXIT

# until_deadline SECONDS WHAT COMMAND...: tries until it succeeds.
until_deadline() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >"$dir/last.out" 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "never: $what" >&2
            return 1
        fi
        sleep 0.2
    done
}

run() {
    "$chorus" --dir "$dir/$1" run >"$dir/$1.log" 2>&1 &
    nodes+=($!)
    until_deadline 30 "$1 answers" "$chorus" --dir "$dir/$1" status
}

is_live() {
    "$chorus" --dir "$dir/$1" --json peers | "$python" -c '
import json, sys
peers = json.load(sys.stdin)["peers"]
sys.exit(not any(p["name"] == sys.argv[1] and p["state"] == "live" for p in peers))' "$2"
}

# gathered NODE WORDS...: one agent is asked, is ready, and says what it was told to say.
gathered() {
    "$chorus" --dir "$dir/$1" --json gather 'are you there?' "${@:2}" | "$python" -c '
import json, sys
said = json.load(sys.stdin)
counts = [said[it] for it in ("expected", "ready", "conflict", "transit", "skipped", "late")]
sys.exit(counts != [1, 1, 0, 0, 0, 0] or "from outside" not in json.dumps(said))'
}

# What is no token is told in one line.
told=0
"$python" "$here/agent.py" bad 2>"$dir/bad.log" || told=$?
if [ "$told" != 2 ] || [ "$(wc -l <"$dir/bad.log")" != 1 ]; then
    echo "a bad token: exit $told instead of 2, or not one line" >&2
    exit 1
fi

# Several nodes on one machine cannot all have the usual port for metrics.
export CHORUS__METRICS__LISTEN=127.0.0.1:0
net=(--listen 127.0.0.1:0 --advertise 127.0.0.1)
"$chorus" --dir "$dir/op" init --mesh home --name op "${net[@]}"
run op
token=$("$chorus" --dir "$dir/op" invite --name lead --role lead --sector s1 --cluster c1)
"$chorus" --dir "$dir/lead" join "$token" "${net[@]}"
run lead
until_deadline 30 "op calls lead live" is_live op lead

token=$("$chorus" --dir "$dir/op" invite --name stranger --sector s1 --cluster c1)
"$python" "$here/agent.py" "$token" --seconds 20 --capability demo --answer 'from outside' \
    >"$dir/agent.out" 2>"$dir/agent.log" &
agent=$!
nodes+=("$agent")
until_deadline 30 "lead calls stranger live" is_live lead stranger
until_deadline 10 "op can ask stranger" gathered op --at now
for node in lead op; do
    for at in now auto; do
        gathered "$node" --at "$at" --capability demo || {
            echo "$node: gather --at $at does not count the stranger as ready" >&2
            exit 1
        }
    done
    if "$chorus" --dir "$dir/$node" gather 'can you?' --capability other >"$dir/other.out" 2>&1; then
        echo "$node: asked for what the stranger cannot do" >&2
        exit 1
    fi
done
wait "$agent"
"$python" - "$dir/agent.out" <<'PYTHON'
import json, sys
heard = [json.loads(line) for line in open(sys.argv[1])]
counted = [one for one in heard if one.get("members") == 3]
assert heard[0]["parent"] == "lead", heard[0]
assert counted, heard[-5:]
print(f"{len(heard)} frames verified, {len(counted)} sums over all three")
PYTHON
