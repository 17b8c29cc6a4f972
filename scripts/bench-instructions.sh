#!/usr/bin/env bash
# Instruction counts of the engine. Needs valgrind; installs the runner of gungraun into the cache.
set -euo pipefail
cd "$(dirname "$0")/.."

cache="${PROVIDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provider-lifecycle}"
version=0.20.0
die() { echo "bench-instructions: $*" >&2; exit 1; }

command -v valgrind >/dev/null || die "valgrind is needed; install it from your distribution"
root="$cache/gungraun-$version"
if [ ! -x "$root/bin/gungraun-runner" ]; then
    cargo install --quiet --locked gungraun-runner --version "=$version" --root "$root" \
        || die "gungraun-runner cannot be installed; is crates.io reachable?"
fi
GUNGRAUN_RUNNER="$root/bin/gungraun-runner" cargo bench --bench instructions "$@"
