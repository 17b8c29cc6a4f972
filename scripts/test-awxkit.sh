#!/usr/bin/env bash
# The official AWX client, from PyPI, against the AAP simulator: it must launch, wait, monitor,
# cancel and list as it does on a real controller. Needs Python 3.9-3.12 with venv, and PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

cache="${PROVIDER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/provider-lifecycle}"
venv="$cache/awxkit-24.6.1"
die() { echo "test-awxkit: $*" >&2; exit 1; }

if [ ! -x "$venv/bin/awx" ]; then
    command -v python3 >/dev/null || die "python3 is needed; install it and its venv module"
    rm -rf "$venv"
    python3 -m venv "$venv" || die "python3 cannot make a venv; install its venv module"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'awxkit==24.6.1' 'setuptools<81' \
        || { rm -rf "$venv"; die "awxkit cannot be installed; is PyPI reachable?"; }
fi

cargo build --quiet --workspace --bins --examples
target="${CARGO_TARGET_DIR:-target}"
work="$(mktemp -d)"
"$target/debug/provider-sim" aap --listen 127.0.0.1:0 --queue-ms 200 --run-ms 1500 \
    --template osac-create --workflow osac-flow --template endless@Lab >"$work/url" 2>"$work/log" &
sim=$!
trap 'kill "$sim" 2>/dev/null || true; wait "$sim" 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do [ -s "$work/url" ] && break; sleep 0.05; done
[ -s "$work/url" ] || die "the simulator did not start: $(cat "$work/log")"
url="$(cat "$work/url")"

awx() { "$venv/bin/awx" --conf.host "$url" --conf.token sim-admin-token -k "$@"; }
field() { python3 -c 'import json,sys; d=json.load(sys.stdin)
for k in sys.argv[1].split("."): d = d[int(k)] if k.isdigit() else d[k]
print(d)' "$1"; }
check() { [ "$2" = "$3" ] || die "$1: expected '$3', got '$2'"; echo "ok: $1"; }

out="$(awx job_templates launch osac-create --wait --extra_vars '{"token": "abc"}')"
check "launch and wait for a job" "$(field status <<<"$out")" successful
check "its variables arrived" "$(field extra_vars <<<"$out")" '{"token":"abc"}'

awx job_templates launch osac-create --monitor >"$work/monitor" || die "monitor failed: $(cat "$work/monitor")"
grep -q "PLAY RECAP" "$work/monitor" || die "monitor printed no output of the playbook"
echo "ok: monitor prints the playbook's output"

out="$(awx workflow_job_templates launch osac-flow --wait)"
check "launch and wait for a workflow" "$(field status <<<"$out")" successful
awx workflow_job_templates launch osac-flow --monitor >"$work/monitor" || die "workflow monitor failed"
echo "ok: monitor follows a workflow"

curl -fsS -X POST "$url/_sim/plans" -d '{"template": "endless", "plan": {"run": null}}' >/dev/null
id="$(awx job_templates launch endless | field id)"
# The command line has no cancel; the client's Python pages do.
status="$("$venv/bin/python" - "$url" "$id" <<'EOF'
import sys
from awxkit import api, config

config.base_url = sys.argv[1]
root = api.Api()
root.connection.login(token="sim-admin-token", auth_type="Bearer")
v2 = root.get().available_versions.v2.get()
job = v2.jobs.get(id=sys.argv[2]).results[0].get()
job = job.wait_until_started(interval=0.1, timeout=20)
job.cancel()
print(job.wait_until_completed(interval=0.1, timeout=20).status)
EOF
)" || die "cancel of job $id failed"
check "cancel" "$status" canceled

check "list by status" "$(awx jobs list --status canceled | field results.0.id)" "$id"
check "list templates" "$(awx job_templates list | field count)" 2
if "$venv/bin/awx" --conf.host "$url" --conf.token wrong me >"$work/me" 2>&1; then
    die "an unknown token was accepted: $(cat "$work/me")"
fi
echo "ok: an unknown token is refused"
echo "awxkit 24.6.1 is satisfied"
