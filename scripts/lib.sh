# Shared by scripts/run and scripts/test; sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

need_swift() {
    command -v swift >/dev/null 2>&1 ||
        fail "the Swift toolchain is missing: install Swift 6.2 or later from https://www.swift.org/install and put it on PATH"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null 2>&1; then sudo "$@"
    else fail "installing packages needs root or sudo: $*"; fi
}

# Installs the Debian packages that are not there yet.
need_packages() {
    command -v dpkg-query >/dev/null 2>&1 || fail "this script installs Debian packages; on another system provide: $*"
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
}

build_packages=(libssl-dev libcurl4-openssl-dev liblz4-dev)
