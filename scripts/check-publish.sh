#!/usr/bin/env bash
# Whether the library crates could be published: each is packed, and built from its package. Where
# cargo-public-api is installed, the public API is compared with what is on record in docs/api/;
# `scripts/check-publish.sh --bless` records it anew.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "check-publish: $*" >&2; exit 1; }

crates=(provider-core provider-http provider-aap provider-eda provider-kube provider-testkit)
if [ "${1:-}" != "--bless" ]; then
    packages=()
    for crate in "${crates[@]}"; do
        packages+=(-p "$crate")
        files="$(cargo package --list --allow-dirty --quiet -p "$crate")"
        for file in LICENSE README.md; do
            grep -qx "$file" <<<"$files" || die "the package of $crate has no $file"
        done
    done
    # Cargo keeps what it has unpacked and built of an earlier run, whatever has changed since in the same version.
    for crate in "${crates[@]}"; do
        rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/"$crate"-[0-9]*
    done
    built="${CARGO_TARGET_DIR:-target}/debug"
    for list in "$built"/deps/provider_*-*.d; do
        [ -e "$list" ] && grep -q "/registry/src/-" "$list" || continue
        hash="$(basename "$list" .d)"
        hash="${hash##*-}"
        rm -rf "$built"/.fingerprint/provider-*-"$hash" "$built"/deps/*-"$hash".*
    done
    # Together, because they depend on one another.
    cargo publish --dry-run --allow-dirty --quiet "${packages[@]}" || die "a crate cannot be published"
    echo "ok: ${crates[*]} can be packed, and built from their packages"
fi

command -v cargo-public-api >/dev/null || {
    echo "cargo-public-api is not installed: the public API was NOT CHECKED (cargo install cargo-public-api --locked)"
    exit 0
}
for crate in "${crates[@]}"; do
    now="$(mktemp)"
    # It reads rustdoc's JSON, which stable compilers only write when they are told to.
    RUSTC_BOOTSTRAP=1 cargo public-api --package "$crate" --all-features -sss --color never >"$now" \
        2>"$now.log" || die "cargo-public-api failed on $crate: $(tail -5 "$now.log")"
    [ -s "$now" ] || die "cargo-public-api found nothing public in $crate"
    if [ "${1:-}" = "--bless" ]; then
        mkdir -p docs/api && cp "$now" "docs/api/$crate.txt"
    else
        diff -u "docs/api/$crate.txt" "$now" \
            || die "the public API of $crate has changed; if it was meant, run $0 --bless and note it in CHANGELOG.md"
        echo "ok: the public API of $crate is as recorded"
    fi
done
