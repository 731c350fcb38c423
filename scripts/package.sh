#!/usr/bin/env bash
# The Debian package, in target/debian/: the binary, its service, man pages, completions
# and an example configuration.
#
#   scripts/package.sh                   for this machine's architecture
#   scripts/package.sh --platform arm64  for a Pi; built as scripts/cross.sh builds it
#   scripts/package.sh --binary FILE     of a release binary that is there already
#
# What is missing on Debian is installed first, `cargo deb` among it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/needs.sh
. scripts/needs.sh

cargo_deb=3.8.0
here=$(uname -m)
platform=$here binary=''
while [ $# -gt 0 ]; do
    case $1 in
    --platform) platform=${2:?--platform needs a value} ;;
    --binary) binary=${2:?--binary needs a value} ;;
    *)
        echo "usage: scripts/package.sh [--platform amd64|arm64] [--binary FILE]" >&2
        exit 2
        ;;
    esac
    shift 2
done
read -r platform machine <<<"$(platform_of "$platform")"
[ -n "$machine" ] || exit 2
triple=$machine-unknown-linux-gnu
target=${CARGO_TARGET_DIR:-$PWD/target}

need_rust
need_compilers
if [ "$(cargo deb --version 2>/dev/null)" != "cargo-deb $cargo_deb" ]; then
    echo "missing, to be built by cargo: cargo-deb $cargo_deb" >&2
    cargo install --locked --version "$cargo_deb" cargo-deb
fi
if [ -n "$binary" ]; then
    is_binary "$binary" "$machine" || exit 2
elif [ "$machine" = aarch64 ] && [ "$here" != aarch64 ]; then
    need_cross
    binary=$(cross_binary dynamic)
else
    cargo build --release --locked -p chorus-node --bin chorus
    binary=$target/release/chorus
fi

# Debian and Raspberry Pi OS bookworm are what the package promises to run on.
runs_on_bookworm "$binary"

# Where node/Cargo.toml says `target/release`, cargo deb looks below the triple. All of it
# is put into a folder of its own, beside no other build.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
staged=$scratch/$triple/release
install -D -m 755 "$binary" "$staged/chorus"
cargo run --quiet --locked -p chorus-node --example manual -- "$staged/manual"
# The example is right once its settings are set: asked of the binary where it can run.
if [ "$machine" = "$here" ]; then
    mkdir "$scratch/home"
    sed 's/^#\([a-z]\)/\1/' "$staged/manual/chorus.toml" >"$scratch/home/chorus.toml"
    "$staged/chorus" --dir "$scratch/home" config check >/dev/null
fi
CARGO_TARGET_DIR=$scratch cargo deb --quiet --no-build --no-strip --no-dbgsym \
    -p chorus-node --target "$triple" --output "$scratch" >/dev/null
mkdir -p "$target/debian"
for package in "$scratch"/*.deb; do
    cp "$package" "$target/debian/"
    echo "$target/debian/${package##*/}: $(stat -c %s "$package") bytes"
done
