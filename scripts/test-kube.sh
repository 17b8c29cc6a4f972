#!/usr/bin/env bash
# provider-kube and the example operator against a real Kubernetes API server; jobs run on the AAP simulator.
#   scripts/test-kube.sh [PART]
# The server: KUBE_APISERVER_BIN (an apiextensions-apiserver), else a copy beside this repository, else it is
# built from Debian's packages. etcd: from the PATH, else from Debian's packages. Fails when one cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
cache="${PROVIDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provider-lifecycle}"
die() { echo "test-kube: $*" >&2; exit 1; }

for tool in openssl curl; do
    command -v "$tool" >/dev/null || die "$tool is needed"
done
command -v kubectl >/dev/null \
    || die "kubectl is needed: Debian's kubernetes-client, or https://kubernetes.io/docs/tasks/tools"
if ! command -v etcd >/dev/null; then
    { apt-get install -y etcd-server || { apt-get update && apt-get install -y etcd-server; }; } >/dev/null 2>&1 \
        || die "etcd is not installed, and Debian's etcd-server cannot be; install etcd"
fi

# Builds the server in the cache, without touching the system. Takes minutes.
build_server() {
    local work="$cache/apiserver-build"
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    local mirror
    mirror="$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*debian\/\{0,1\}\) .*/\2/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1)"
    # Debian's own keys, as for every package of the system.
    local keys
    keys="$(ls /usr/share/keyrings/debian-archive-keyring.{pgp,gpg} 2>/dev/null | head -n 1)"
    [ -n "$keys" ] || { echo "debian-archive-keyring is not installed" >"$work/log"; return 1; }
    echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian} sid main" >"$work/sources.list"
    local options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache::archives=$work/archives" -o Dir::Cache::pkgcache=
        -o Dir::Cache::srcpkgcache= -o APT::Install-Recommends=false)
    apt-get "${options[@]}" update >"$work/log" 2>&1 || return 1
    # All that the program is built from: every Go library that its package depends on.
    local packages
    packages="$(apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances golang-k8s-apiextensions-apiserver-dev golang-1.27-go golang-1.27-src \
        | grep -E '^golang-' | sort -u)"
    (cd "$work/archives" && apt-get "${options[@]}" download $packages >>"$work/log" 2>&1) || return 1
    for package in "$work"/archives/*.deb; do
        dpkg -x "$package" "$work/root"
    done
    # The packages install absolute links to the source tree of Go.
    GOROOT="$work/goroot"
    mkdir -p "$GOROOT"
    cp -rL "$work/root/usr/share/go-1.27/." "$GOROOT/" 2>>"$work/log" || true
    cp -r "$work/root/usr/lib/go-1.27/." "$GOROOT/" 2>>"$work/log" || true
    cp -r "$work/root/usr/share/go-1.27/src" "$GOROOT/" 2>>"$work/log" || true
    GOROOT="$GOROOT" GOPATH="$work/root/usr/share/gocode" GOCACHE="$work/gocache" GO111MODULE=off \
        GOTOOLCHAIN=local CGO_ENABLED=0 "$GOROOT/bin/go" build -o "$cache/apiextensions-apiserver.part" \
        k8s.io/apiextensions-apiserver >>"$work/log" 2>&1 || return 1
    mv "$cache/apiextensions-apiserver.part" "$cache/apiextensions-apiserver"
    rm -rf "$work"
}

server="${KUBE_APISERVER_BIN:-$cache/apiextensions-apiserver}"
if [ ! -x "$server" ]; then
    [ -z "${KUBE_APISERVER_BIN:-}" ] || die "KUBE_APISERVER_BIN is not a program: $server"
    mkdir -p "$cache"
    copy="$(ls "$root"/../shared/kube/apiextensions-apiserver-*.xz 2>/dev/null | head -n 1 || true)"
    if [ -n "$copy" ]; then
        xz -dc "$copy" >"$server.part" && chmod +x "$server.part" && mv "$server.part" "$server"
    else
        echo "building an API server from Debian's packages; this takes minutes"
        build_server || die "there is no API server: set KUBE_APISERVER_BIN (log: $cache/apiserver-build/log)"
    fi
fi

cargo build --quiet --workspace --bins --examples
target="${CARGO_TARGET_DIR:-target}"

export KUBE_APISERVER_BIN="$server" KUBE_LANE_DIR
KUBE_LANE_DIR="$(mktemp -d)"
trap '"$root/scripts/kube-server.sh" stop; rm -rf "$KUBE_LANE_DIR"' EXIT
KUBECONFIG="$(scripts/kube-server.sh start)" || die "the API server does not start"
export KUBECONFIG
"$target/debug/examples/cluster" "$(realpath "$target/debug/examples/operator")" "$root/scripts/kube-server.sh" "$@"
