#!/usr/bin/env bash
# The container image, with nothing fetched from a registry: the static binary is built
# here, and docker puts it into an empty image.
#
#   scripts/image.sh                   chorus:latest for this machine's architecture
#   scripts/image.sh --platform arm64  for aarch64, built by scripts/cross.sh --static
#   scripts/image.sh --tag NAME:TAG    another name
#   scripts/image.sh --binary FILE     of a static binary that is there already
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/needs.sh
. scripts/needs.sh

here=$(uname -m)
platform=$here tag=chorus:latest binary=
while [ $# -gt 0 ]; do
    case $1 in
    --platform) platform=${2:?--platform needs a value} ;;
    --tag) tag=${2:?--tag needs a value} ;;
    --binary) binary=${2:?--binary needs a value} ;;
    *)
        echo "usage: scripts/image.sh [--platform amd64|arm64] [--tag NAME:TAG] [--binary FILE]" >&2
        exit 2
        ;;
    esac
    shift 2
done
read -r platform machine <<<"$(platform_of "$platform")"
[ -n "$machine" ] || exit 2
docker=$(docker_client)

if [ -z "$binary" ]; then
    need_rust
    need_compilers
    if [ "$machine" = "$here" ]; then
        binary=$(static_binary)
    else
        scripts/cross.sh --static
        binary=${CARGO_TARGET_DIR:-$PWD/target}/$machine-unknown-linux-gnu/release/chorus
    fi
fi

is_static_binary "$binary" "$machine" || exit 2
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/out/empty"
# Stripped already, by the release profile.
cp "$binary" "$context/out/chorus"
chmod 755 "$context/out/chorus"
DOCKER_BUILDKIT=1 "$docker" build --quiet --platform "linux/$platform" \
    --build-arg BINARY=given --file docker/Dockerfile --tag "$tag" "$context" >/dev/null
size=$("$docker" image inspect --format '{{.Size}}' "$tag")
echo "$tag is built for linux/$platform: $((size / 1000000)).$((size / 100000 % 10)) MB"
