#!/usr/bin/env bash
# Every reader of what comes from outside, against inputs that a fuzzer makes up: `scripts/fuzz.sh [SECONDS [TARGET...]]`,
# 60 s for each target of fuzz/ unless told otherwise, two at a time. An input that breaks something is named, and kept.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "fuzz: $*" >&2; exit 1; }

seconds="${1:-60}"
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || die "expected a number of seconds, found \"$seconds\""
shift || true

tools="${PROVIDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provider-lifecycle}/cargo-tools"
export PATH="$tools/bin:$PATH"
command -v cargo-fuzz >/dev/null || {
    echo "installing cargo-fuzz into $tools"
    cargo install --locked --quiet cargo-fuzz --version 0.13.2 --root "$tools" || die "cargo-fuzz cannot be installed"
}

all=()
for source in fuzz/fuzz_targets/*.rs; do all+=("$(basename "$source" .rs)"); done
targets=("${@:-${all[@]}}")
for target in "${targets[@]}"; do
    [ -e "fuzz/fuzz_targets/$target.rs" ] || die "there is no target \"$target\": ${all[*]}"
done

# The versions that everything else is tested with; cargo drops what is not needed and adds the fuzzer.
cp Cargo.lock fuzz/Cargo.lock
# The stable compiler does it, if it may. No sanitizer: it would need a nightly, and safe code has no use for it.
host="$(rustc -vV | sed -n 's/^host: //p')"
RUSTC_BOOTSTRAP=1 cargo fuzz build --sanitizer none --target "$host" --target-dir target/fuzz \
    || die "the targets cannot be built"
programs="target/fuzz/$host/release"

# A run keeps what it finds under target/; seeds, which are committed, are only read.
work="target/fuzz/work"
mkdir -p "$work"
one() {
    local target="$1"
    mkdir -p "$work/corpus/$target" "fuzz/artifacts/$target" "fuzz/corpus/$target"
    "$programs/$target" "$work/corpus/$target" "fuzz/corpus/$target" \
        -artifact_prefix="fuzz/artifacts/$target/" -dict=fuzz/words.dict \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
        -print_final_stats=1 >"$work/$target.log" 2>&1
}

failed=()
report() {
    local target="$1" result="$2" log="$work/$1.log" runs coverage seeds
    runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    coverage="$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)"
    seeds="$(sed -n 's/.* corp: \([0-9]*\).*/\1/p' "$log" | tail -1)"
    # A target that has run nothing proves nothing.
    if [ "$result" = 0 ] && [ "${runs:-0}" -gt 0 ]; then
        printf '%-12s %9d executions  %6d places reached  %5d inputs kept\n' \
            "$target" "$runs" "${coverage:-0}" "${seeds:-0}"
        return
    fi
    failed+=("$target")
    echo "$target FAILED:" >&2
    # The panic is above the fuzzer's own words, which may be many.
    grep -a -m 3 -A 4 'panicked at\|ERROR: libFuzzer' "$log" >&2 || tail -n 20 "$log" >&2
    sed -n 's/^.*Test unit written to /fuzz: the input is /p' "$log" >&2
}

for ((at = 0; at < ${#targets[@]}; at += 2)); do
    first="${targets[at]}"
    second="${targets[at + 1]:-}"
    one "$first" &
    running=$!
    result=0
    if [ -n "$second" ]; then one "$second" || result=$?; fi
    other=0
    wait "$running" || other=$?
    report "$first" "$other"
    if [ -n "$second" ]; then report "$second" "$result"; fi
done
[ ${#failed[@]} = 0 ] || die "${failed[*]} failed; fuzz/README.md says how to replay an input"
echo "ok: ${#targets[@]} targets, $seconds s each"
