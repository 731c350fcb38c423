#!/usr/bin/env bash
# The binary for aarch64 (Pi 3, Pi 4, Pi Zero 2 W), built here, measured, and shown to run:
# under qemu it joins a native node's mesh over loopback, couples, stops, and comes back
# with what it had stored.
#
#   scripts/cross.sh                 linked to glibc as Raspberry Pi OS has it
#   scripts/cross.sh --static        needs no library; for images FROM scratch
#   scripts/cross.sh --no-run        build and measure only
#   scripts/cross.sh --binary FILE   of a binary that is there already (with --static if it is)
#   scripts/cross.sh --native FILE   the same for the native node
#
# What is missing on Debian is installed first. It is left in
# target/aarch64-unknown-linux-gnu/release/chorus.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/needs.sh
. scripts/needs.sh

kind='' run=true binary='' native=''
while [ $# -gt 0 ]; do
    case $1 in
    --static) kind=static ;;
    --no-run) run=false ;;
    --binary)
        binary=${2:?--binary needs a value}
        shift
        ;;
    --native)
        native=${2:?--native needs a value}
        shift
        ;;
    *)
        echo "usage: scripts/cross.sh [--static] [--no-run] [--binary FILE] [--native FILE]" >&2
        exit 2
        ;;
    esac
    shift
done

need_rust
need_compilers
need_cross
need_packages python3
[ -n "$binary" ] || binary=$(cross_binary $kind)

needed=$(needs_newest "$binary" GLIBC || true)
if [ -n "$kind" ] && [ -n "$needed" ]; then
    echo "$binary needs glibc $needed: it is not static" >&2
    exit 1
fi
runs_on_bookworm "$binary"
echo "aarch64${kind:+ $kind}: $(stat -c %s "$binary") bytes, glibc needed: ${needed:-none}"
$run || exit 0

command -v qemu-aarch64-static >/dev/null || need_packages qemu-user-static
if [ -z "$native" ]; then
    cargo build --locked -p chorus-node --bin chorus
    native=${CARGO_TARGET_DIR:-$PWD/target}/debug/chorus
fi
emulator=(qemu-aarch64-static)
if [ -z "$kind" ]; then
    # Linker and libraries from the same folder: where Debian's arm64 libraries are installed
    # as well, the one's linker would take the other's glibc, and hang in pthread_create.
    sysroot=/usr/aarch64-linux-gnu
    emulator+=(-L "$sysroot" -E "LD_LIBRARY_PATH=$sysroot/lib")
fi

dir=$(mktemp -d)
pids=()
# shellcheck disable=SC2329
end() {
    local code=$?
    [ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    [ "$code" = 0 ] || tail -n 20 "$dir"/*.log >&2 || true
    rm -rf "$dir"
}
trap end EXIT
export CHORUS__METRICS__LISTEN=127.0.0.1:0

chorus() {
    local node=$1
    shift
    case $node in
    native) "$native" --dir "$dir/native" "$@" ;;
    pi) "${emulator[@]}" "$binary" --dir "$dir/pi" "$@" ;;
    esac
}

# field NODE PATH: a value of its status, such as phase.live; nothing while it is silent.
field() {
    chorus "$1" --json status 2>/dev/null | python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[key]
print(value)' "$2" 2>/dev/null || true
}

# start NODE: in the background, by its own process and not by a shell around it.
start() {
    local command=("$native")
    [ "$1" = native ] || command=("${emulator[@]}" "$binary")
    "${command[@]}" --dir "$dir/$1" run >>"$dir/$1.log" 2>&1 </dev/null &
    pids+=($!)
}

# says NODE FIELD VALUE: waits until it does. An emulated node needs time, above all beside
# others.
says() {
    local deadline=$((SECONDS + 180))
    until [ "$(field "$1" "$2")" = "$3" ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "$1 does not say within 180 s that its $2 is $3" >&2
            exit 1
        fi
        sleep 0.5
    done
}

coupled() {
    local begun=$SECONDS
    says native phase.live 2
    says pi phase.live 2
    echo "$1: both count 2 in phase after $((SECONDS - begun)) s," \
        "order $(field native phase.order) and $(field pi phase.order)"
}

net=(--listen 127.0.0.1:0 --advertise 127.0.0.1)
chorus native init --mesh cross --name native "${net[@]}" >/dev/null
start native
says native name native
token=$(chorus native invite --name pi --role agent --sector s1 --cluster c1)
chorus pi join "$token" "${net[@]}" >/dev/null
start pi
coupled "joined"

identity=$(field pi node) clock=$(field pi lamport) incarnation=$(field pi incarnation)
resident=$(awk '/^VmRSS/ { print $2 }' "/proc/${pids[1]}/status")
echo "resident under qemu, with the emulator and what it has translated: $resident kB"
kill -TERM "${pids[@]}"
wait "${pids[@]}" 2>/dev/null || true
pids=()
start native
start pi
coupled "both restarted"
[ "$(field pi node)" = "$identity" ] || { echo "it came back as another node" >&2 && exit 1; }
if [ "$(field pi lamport)" -lt "$clock" ] || [ "$(field pi incarnation)" -le "$incarnation" ]; then
    echo "its clock ($clock) or its count of starts ($incarnation) went back" >&2
    exit 1
fi
echo "the same node ${identity:0:16}, clock $clock -> $(field pi lamport)," \
    "start $incarnation -> $(field pi incarnation)"
