#!/usr/bin/env bash
# Breaks the rules one at a time, and sees whether a fast test notices (cargo-mutants).
#   scripts/mutants.sh [N]             about N of all mutants (12), others for every commit
#   scripts/mutants.sh all [GROUP...]  all of them, or those of some groups: core aap monitor search kube eda. Hours.
# What may survive is in scripts/mutants.allowed, a line each: the mutant without its place, " -- ", the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
die() { echo "mutants: $*" >&2; exit 1; }

tools="${PROVIDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provider-lifecycle}/cargo-tools"
export PATH="$tools/bin:$PATH"
command -v cargo-mutants >/dev/null || {
    echo "installing cargo-mutants into $tools"
    cargo install --locked --quiet cargo-mutants --version 27.1.0 --root "$tools" || die "cargo-mutants cannot be installed"
}

# Each group: its sources, and the fast tests that are asked. The model and long properties are not: for each rule
# there is a test that takes no minute.
declare -A sources tests
sources[core]="-f crates/provider-core/src/lifecycle/** -f crates/provider-core/src/history.rs -f crates/provider-core/src/history/**"
tests[core]="-p provider-core --lib --test bad_input --test defects --test late --test observability --test pace --test relaunched --test silence --test actions --test wanted --test unnamed --test records"
sources[aap]="-f crates/provider-aap/src/find.rs -f crates/provider-aap/src/look.rs -f crates/provider-aap/src/launch.rs -f crates/provider-aap/src/answer.rs -f crates/provider-aap/src/status.rs"
tests[aap]="-p provider-aap --lib --test defects --test status_mapping --test surprises --test truth --test cause --test search --test actions"
sources[monitor]="-f crates/provider-aap/src/monitor/**"
tests[monitor]="-p provider-aap --lib --test monitor --test push --test defects"
sources[search]="-f crates/provider-aap/src/search/** -f crates/provider-aap/src/walk.rs -f crates/provider-aap/src/scan.rs"
tests[search]="-p provider-aap --lib --test search --test defects --test truth"
sources[kube]="-f crates/provider-kube/src/pass.rs -f crates/provider-kube/src/store.rs -f crates/provider-kube/src/handle.rs -f crates/provider-kube/src/provisioner.rs -f crates/provider-kube/src/finalizer.rs -f crates/provider-kube/src/conditions.rs -f crates/provider-kube/src/conditions/** -f crates/provider-kube/src/control.rs -f crates/provider-kube/src/applied.rs -f crates/provider-kube/src/annotations.rs"
tests[kube]="-p provider-kube --lib --test between --test definition --test provisioner --test told --test controller --test wishes --test restored"
sources[eda]="-f crates/provider-eda/src/completion.rs -f crates/provider-eda/src/answer.rs -f crates/provider-eda/src/check.rs -f crates/provider-eda/src/tracking/**"
tests[eda]="-p provider-eda --lib --test answers --test completion --test defects --test lifecycle --test surprises --test tracking --test actions --test action_lives"
order=(core aap monitor search kube eda)

# A tree of its own: what is broken there is broken nowhere else. Dependencies are those of the other builds.
tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
git clone --quiet --shared "$root" "$tree/tree"
export CARGO_TARGET_DIR="$root/target" CARGO_INCREMENTAL=1 RUST_BACKTRACE=0
# As in the build of the whole workspace, whatever package is tested: nothing is compiled twice.
export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_FEATURE_UNIFICATION=true CARGO_RESOLVER_FEATURE_UNIFICATION=workspace
out="$root/target/mutants"
mkdir -p "$out"

list() { (cd "$tree/tree" && set -f && cargo mutants --workspace --list ${sources[$1]}); }

# One group, or one of its parts ("k/n").
run() {
    local group="$1" part="${2:-}" status=0
    local arguments=(--in-place --workspace --baseline skip --timeout 60 --build-timeout 600 --no-times
        --colors never --output "$out/$group")
    [ -z "$part" ] || arguments+=(--shard "$part")
    rm -rf "$out/$group"
    set -f
    # shellcheck disable=SC2086 # they are lists
    (cd "$tree/tree" && cargo mutants "${arguments[@]}" ${sources[$group]} -- ${tests[$group]}) || status=$?
    set +f
    # 2 and 3: some were missed, or took too long; both are told below.
    case "$status" in 0 | 2 | 3) ;; *) die "cargo-mutants failed ($status)" ;; esac
}

# A test that fails unbroken says nothing.
healthy() {
    # shellcheck disable=SC2086 # a list
    (cd "$tree/tree" && cargo test --quiet ${tests[$1]}) >"$out/healthy-$1.log" 2>&1 \
        || { tail -30 "$out/healthy-$1.log" >&2; die "the tests of $1 fail before anything is broken"; }
}

# What was missed and is not allowed to be.
bad=0 total=0 caught=0
judge() {
    local group="$1" results="$out/$1/mutants.out" line name
    for kind in caught timeout missed; do
        [ -e "$results/$kind.txt" ] || continue
        while IFS= read -r line; do
            total=$((total + 1))
            # Without its line and column, which change with every edit above it.
            name="$(sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' <<<"$line")"
            if [ "$kind" != missed ] || grep -qF -- "$name -- " scripts/mutants.allowed; then
                caught=$((caught + 1))
            else
                bad=$((bad + 1))
                echo "not noticed: $line"
            fi
        done <"$results/$kind.txt"
    done
}

if [ "${1:-}" = all ]; then
    shift
    groups=("${@:-${order[@]}}")
    for group in "${groups[@]}"; do
        [ -n "${sources[$group]:-}" ] || die "there is no group \"$group\": ${order[*]}"
        healthy "$group"
        run "$group"
        judge "$group"
    done
else
    wanted="${1:-12}"
    [[ "$wanted" =~ ^[1-9][0-9]*$ ]] || die "expected a number of mutants, or \"all\"; found \"$wanted\""
    # The commit chooses one of all mutants; those that share its part are broken with it.
    counts=() all=0
    for group in "${order[@]}"; do
        count="$(list "$group" | wc -l)"
        [ "$count" -gt 0 ] || die "there are no mutants of $group"
        counts+=("$count")
        all=$((all + count))
    done
    place=$((16#$(git rev-parse HEAD | cut -c1-8) % all))
    for i in "${!order[@]}"; do
        if [ "$place" -lt "${counts[$i]}" ]; then
            parts=$(((counts[i] + wanted - 1) / wanted))
            echo "$all mutants in all; now part $((place % parts)) of $parts of ${order[$i]}"
            healthy "${order[$i]}"
            run "${order[$i]}" "$((place % parts))/$parts"
            judge "${order[$i]}"
            break
        fi
        place=$((place - counts[i]))
    done
fi
[ "$total" -gt 0 ] || die "nothing was broken"
echo "$caught of $total mutants are noticed, or allowed with a reason ($((caught * 100 / total)) %)"
[ "$bad" -eq 0 ]
