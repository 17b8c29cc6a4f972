#!/usr/bin/env python3
"""A test against the simulators, in nothing but Python's standard library.

    cargo build -p provider-testkit --bin provider-sim
    python3 examples/python/simulators.py target/debug/provider-sim
"""

import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PROGRAM = sys.argv[1]
WORK = pathlib.Path(tempfile.mkdtemp())

FAULTS = """
faults:
  - {route: launch, fault: drop_after}            # launched, and the answer is lost
  - {route: job, fault: {status: 502}, times: 2}  # a gateway has a bad moment
plans:
  - {template: work, plan: {queue: 50, run: 300}}
"""


class Simulator:
    """A simulator for the length of a `with`."""

    def __init__(self, *arguments):
        self.journal_file = WORK / f"{arguments[0]}.jsonl"
        command = [PROGRAM, *arguments, "--listen", "127.0.0.1:0", "--journal", self.journal_file]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10) == 0, "it ends politely"

    def call(self, method, path, body=None, token="sim-admin-token"):
        """The status and the answer; None and None when the connection was closed."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (http.client.RemoteDisconnected, ConnectionError, urllib.error.URLError):
            return None, None

    def journal(self):
        return [json.loads(line) for line in self.journal_file.read_text().splitlines()]


def a_lost_launch_and_its_job():
    faults = WORK / "faults.yaml"
    faults.write_text(FAULTS)
    with Simulator("aap", "--template", "work", "--faults", str(faults)) as aap:
        launch = {"extra_vars": {"token": "t-1"}}
        status, _ = aap.call("POST", "/api/v2/job_templates/7/launch/", launch)
        assert status is None, "nobody is told, and yet:"
        _, found = aap.call("GET", "/api/v2/unified_jobs/?launch_type=manual&order_by=-id")
        (job,) = json.loads(found)["results"]
        assert json.loads(job["extra_vars"])["token"] == "t-1"
        path, seen = f"/api/v2/jobs/{job['id']}/", []
        while not seen or seen[-1] != "successful":
            status, body = aap.call("GET", path)
            seen.append(json.loads(body)["status"] if status == 200 else status)
            time.sleep(0.02)
        assert seen[:2] == [502, 502] and "running" in seen, seen
    last = aap.journal()[-1]
    assert last["succeeded"] and last["stopped"] and last["extra_vars"] == {"token": "t-1"}, last
    print("aap: one launch, one job, although its answer was lost")


def an_event_with_a_token():
    with Simulator("eda", "webhook", "--token", "s3cret") as eda:
        event = {"metadata": {"name": "vm"}, "action": "create"}
        status, _ = eda.call("POST", "/endpoint", event, token="wrong")
        assert status in (401, 403), status
        eda.call("POST", "/_sim/faults", {"fault": {"status_after": 504}})
        status, _ = eda.call("POST", "/endpoint", event, token="s3cret")
        assert status == 504, "a gateway gave up, and yet:"
    (taken,) = eda.journal()
    assert taken["payload"] == event and taken["fate"] == "queued", taken
    print("eda: one event, although its answer was 504")


if __name__ == "__main__":
    a_lost_launch_and_its_job()
    an_event_with_a_token()
