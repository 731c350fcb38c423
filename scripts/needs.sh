# What building and testing needs, sourced by the other scripts: each function looks
# first, says what it installs, and asks nothing when there is no terminal.
# shellcheck shell=bash

# Rust: rust-toolchain.toml says which one, rustup fetches it. Nothing here installs
# rustup itself: that is a choice of the machine's owner.
need_rust() {
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing: install rustup, then run this again." >&2
        exit 2
    fi
}

# Debian packages, named only when what they bring is not there.
need_packages() {
    local missing=() answer
    local as_root=()
    for package in "$@"; do
        case $package in
        gcc) command -v cc >/dev/null ;;
        g++) command -v c++ >/dev/null ;;
        libc6-dev) [ -e /usr/include/stdlib.h ] ;;
        iproute2) command -v ip >/dev/null ;;
        nftables) command -v nft >/dev/null ;;
        python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
        *) command -v "$package" >/dev/null ;;
        esac || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "missing, to be installed by apt-get: ${missing[*]}" >&2
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here: install the like of ${missing[*]} by hand." >&2
        exit 2
    fi
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if [ -t 0 ]; then
        read -r -p "install them now? [Y/n] " answer
        case $answer in [nN]*) exit 2 ;; esac
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# The compilers for libsodium and libzmq, which are built from the sources inside their
# crates. libsodium comes with a `configure`, so make is enough; CMake is not used.
need_compilers() {
    need_packages gcc g++ libc6-dev make
}

# A Python of our own beside the build ($1), with what scripts/agent.py imports.
need_python() {
    local venv=$1 packages=(pyzmq==27.1.0 msgpack==1.1.2 PyNaCl==1.6.2)
    need_packages python3 python3-venv
    if ! "$venv/bin/python" -c 'import zmq, msgpack, nacl' 2>/dev/null; then
        echo "into $venv: ${packages[*]}" >&2
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check "${packages[@]}"
    fi
}

# The static release binary for this machine; prints its path. Naming the target keeps
# the flags away from build scripts, which cannot be static. scripts/bench.sh measures
# with the same, so that it is built once.
static_binary() {
    local triple
    triple=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --release --locked --target "$triple" -p chorus-node --bin chorus >&2
    echo "${CARGO_TARGET_DIR:-$PWD/target}/$triple/release/chorus"
}

# The docker client that belongs to an engine that answers; prints its path. There may be
# others on PATH that lack parts of it.
docker_client() {
    local client
    for client in /usr/bin/docker docker; do
        if command -v "$client" >/dev/null && "$client" version >/dev/null 2>&1; then
            echo "$client"
            return
        fi
    done
    echo "no Docker engine answers: start one, or install docker.io (apt-get)" >&2
    exit 2
}

# Everything to build for aarch64 on Debian: a compiler, and Rust's std from rustup where
# that gives it, else from Debian's packages. Sets the variables that cargo builds by.
need_cross() {
    local triple=aarch64-unknown-linux-gnu as_root=()
    command -v aarch64-linux-gnu-g++ >/dev/null || need_packages crossbuild-essential-arm64
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
    export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
    [ ! -d "$(rustc --print target-libdir --target "$triple")" ] || return 0
    echo "missing: Rust's std for $triple, asked of rustup" >&2
    ! timeout 300 rustup target add "$triple" >&2 || return 0
    echo "rustup does not give it: Debian's rustc-web and libstd-rust-web-dev:arm64" >&2
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" dpkg --add-architecture arm64
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends rustc-web libstd-rust-web-dev:arm64 >&2
    export RUSTC=/usr/bin/rustc
}

# The release binary for aarch64; prints its path. Only the last link is another for a
# static one (`cross_binary static`), so that both share everything that is compiled.
cross_binary() {
    local triple=aarch64-unknown-linux-gnu flags=()
    [ "${1:-}" != static ] || flags=(-C target-feature=+crt-static)
    cargo rustc --release --locked --target "$triple" -p chorus-node --bin chorus \
        -- "${flags[@]}" >&2
    echo "${CARGO_TARGET_DIR:-$PWD/target}/$triple/release/chorus"
}

# Whether FILE is a binary of ours for MACHINE (as `uname -m` names it). It is looked at and
# not run: it may be another machine's, or no program at all.
is_binary() {
    local machine
    machine=$(LC_ALL=C readelf --file-header "$1" 2>/dev/null | sed -n 's/^ *Machine: *//p')
    case $2:$machine in
    x86_64:*X86-64 | aarch64:AArch64) ;;
    *)
        echo "--binary $1: no program for $2" >&2
        return 1
        ;;
    esac
    if ! grep -q "CHORUS__" "$1"; then
        echo "--binary $1: not chorus" >&2
        return 1
    fi
}

# The same, and whether it needs nothing of its system.
is_static_binary() {
    is_binary "$1" "$2" || return 1
    if LC_ALL=C readelf --program-headers "$1" | grep INTERP >/dev/null; then
        echo "--binary $1: it is not static, and an image has no libraries" >&2
        return 1
    fi
}

# The newest version of a library that a binary needs, by the prefix of its symbols:
# `needs_newest FILE GLIBC` is such as 2.34; nothing where it does not need it.
needs_newest() {
    readelf --dyn-syms --wide "$1" | grep -oE "$2_[0-9.]+" | cut -d_ -f2 | sort -uV | tail -n 1
}

# Whether a version is at most another.
at_most() {
    [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$2" ]
}

# Debian 12 and Raspberry Pi OS bookworm: glibc 2.36, and libstdc++ of GCC 12.
runs_on_bookworm() {
    local pair needed
    for pair in GLIBC=2.36 GLIBCXX=3.4.30; do
        needed=$(needs_newest "$1" "${pair%=*}" || true)
        if ! at_most "${needed:-0}" "${pair#*=}"; then
            echo "$1 needs ${pair%=*} $needed; Debian bookworm has ${pair#*=}" >&2
            return 1
        fi
    done
}

# Both names of a platform, Debian's and Rust's, of either; nothing for one that is neither.
platform_of() {
    case $1 in
    amd64 | x86_64) echo amd64 x86_64 ;;
    arm64 | aarch64) echo arm64 aarch64 ;;
    *) echo "--platform $1: allowed is amd64 or arm64" >&2 ;;
    esac
}
