"""The wait loop of the official client, a thread a job."""

import datetime
import json
import resource
import sys
import threading

from awxkit import api, config

url, first, count, interval, token = sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6]
config.base_url = url
config.assume_untrusted = True
root = api.Api()
root.connection.login(token=token, auth_type="Bearer")
jobs = root.get().available_versions.v2.get().jobs
lock, delays, wrong = threading.Lock(), [], 0


def wait(n):
    global wrong
    job = jobs.get(id=first + n).results[0]
    job = job.wait_until_completed(interval=interval / 1000, timeout=interval)
    now = datetime.datetime.now(datetime.timezone.utc)
    finished = datetime.datetime.fromisoformat(job.finished.replace("Z", "+00:00"))
    with lock:
        delays.append(max(0.0, (now - finished).total_seconds()))
        wrong += job.status != ("failed" if n % 50 == 7 else "successful")


threads = [threading.Thread(target=wait, args=(n,)) for n in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
used = resource.getrusage(resource.RUSAGE_SELF)
usage = {"cpu_s": used.ru_utime + used.ru_stime, "peak_rss_mib": used.ru_maxrss / 1024}
print(json.dumps({"delays": delays, "wrong": wrong + count - len(delays), "usage": usage}))
