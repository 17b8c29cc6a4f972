#!/usr/bin/env bash
# The simulators as programs, driven by a test in another language. Needs Python 3.8 or later.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v python3 >/dev/null || { echo "test-simulators: python3 is needed; install it" >&2; exit 1; }
cargo build --quiet --workspace --bins --examples
python3 examples/python/simulators.py "${CARGO_TARGET_DIR:-target}/debug/provider-sim"
echo "the simulators serve a test in Python"
