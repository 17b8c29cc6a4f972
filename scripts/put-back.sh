#!/usr/bin/env bash
# Puts faults of the past back, one at a time, and sees whether the simulated worlds find each of them.
#   scripts/put-back.sh [NAME...]    those of tests/world/put-back whose names begin so; all of them: about an hour
# WORLD_LIVES is how many lives it may take at most (100000).
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
die() { echo "put-back: $*" >&2; exit 1; }

export WORLD_LIVES="${WORLD_LIVES:-100000}" WORLD_SHRINK="${WORLD_SHRINK:-1}" RUST_BACKTRACE=0
# A tree of its own: what is broken there is broken nowhere else. Dependencies are those of the other builds.
tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
git clone --quiet --shared "$root" "$tree/tree"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}" CARGO_INCREMENTAL=0

worlds() { # LOG: 0 when nothing was found
    (cd "$tree/tree" && cargo test --quiet --workspace --test world --no-run >"$1" 2>&1) || {
        tail -30 "$1" >&2
        die "it does not compile"
    }
    (cd "$tree/tree" && cargo test --quiet --workspace --test world -- all_lives_end_well --nocapture >"$1" 2>&1)
}

log="$tree/log" found=0 missed=0
names=("${@:-}")
for patch in "$root"/tests/world/put-back/*.patch; do
    name="$(basename "$patch" .patch)"
    wanted=
    for one in "${names[@]}"; do
        case "$name" in "$one"*) wanted=1 ;; esac
    done
    [ -n "$wanted" ] || continue
    git -C "$tree/tree" apply "$patch" || die "$name does not fit the code any more; make the patch anew"
    if worlds "$log"; then
        echo "NOT FOUND in $WORLD_LIVES lives: $name"
        missed=$((missed + 1))
    else
        grep -q '[1-9][0-9]* violations$' "$log" || { tail -30 "$log" >&2; die "$name: the worlds broke off"; }
        found=$((found + 1))
        echo "found: $name: $(grep -m 1 -A 5 'goes wrong; ' "$log" | tail -n 1 | cut -c 1-200)"
    fi
    git -C "$tree/tree" checkout --quiet .
done
[ "$((found + missed))" -gt 0 ] || die "there is no such fault: ${names[*]}"
echo "$found of $((found + missed)) faults were found"
[ "$missed" -eq 0 ]
