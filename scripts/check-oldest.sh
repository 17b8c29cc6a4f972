#!/usr/bin/env bash
# Whether what the manifests promise is true: the library crates build with the oldest version of every
# dependency that they allow, and nothing below them asks for a newer Rust than `rust-version` says.
# Needs a nightly cargo, which alone can resolve to oldest versions; the compiler is the stable one, and that
# of `rust-version` too where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "check-oldest: $*" >&2; exit 1; }

cargo +nightly --version >/dev/null 2>&1 || {
    echo "there is no nightly cargo: the oldest dependencies were NOT CHECKED (rustup toolchain install nightly)"
    exit 0
}
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/oldest"
copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
# Cargo.lock stays as it is: the resolution is that of a copy.
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -P -t "$copy"
cd "$copy"
rm -f Cargo.lock
cargo +nightly generate-lockfile -Z direct-minimal-versions >resolve.log 2>&1 \
    || die "the lower bounds contradict those of a dependency: $(cat resolve.log)"

crates=(provider-core provider-http provider-aap provider-eda provider-kube provider-testkit)
check=(check --quiet --locked --lib --all-features --features k8s-openapi/v1_33)
for crate in "${crates[@]}"; do check+=(-p "$crate"); done
cargo "${check[@]}" || die "a lower bound in Cargo.toml is too low: see above"
echo "ok: ${crates[*]} build with the oldest dependencies that they allow"

cargo metadata --quiet --locked --format-version 1 --all-features >metadata.json
python3 - "${crates[@]}" <<'PYTHON'
import json, sys
data = json.load(open("metadata.json"))
packages = {package["id"]: package for package in data["packages"]}
nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
number = lambda text: tuple(int(part) for part in (text + ".0").split(".")[:2])
todo = [package["id"] for package in data["packages"] if package["name"] in sys.argv[1:]]
ours = packages[todo[0]]["rust_version"]
seen = set(todo)
while todo:
    for dependency in nodes[todo.pop()]["deps"]:
        # What only tests need asks nothing of a user.
        if dependency["pkg"] not in seen and any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            seen.add(dependency["pkg"])
            todo.append(dependency["pkg"])
newer = [f'{p["name"]} {p["version"]} needs {p["rust_version"]}' for p in map(packages.get, seen)
         if p["rust_version"] and number(p["rust_version"]) > number(ours)]
if newer:
    sys.exit(f"check-oldest: rust-version is {ours}, and " + "; ".join(newer))
print(f"ok: none of the {len(seen)} crates asks for more than Rust {ours}")
PYTHON

msrv="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
toolchain="$(rustup toolchain list 2>/dev/null | grep -o "^${msrv//./\\.}[.-][^ ]*" | head -1 || true)"
if [ -n "$toolchain" ]; then
    cargo "+$toolchain" "${check[@]}" || die "Rust $msrv does not build it"
    echo "ok: Rust $msrv builds it"
else
    echo "Rust $msrv is not installed: NOT CHECKED with that compiler (rustup toolchain install $msrv);" \
        "clippy's incompatible_msrv denies newer parts of the standard library"
fi
