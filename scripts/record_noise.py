#!/usr/bin/env python3
"""Records what a sandbox's signals do while nothing is changed: a fixture for the placebo on recorded noise.

    scripts/record_noise.py --scenario healthy --minutes 20 > tests/fixtures/noise/healthy.csv
    scripts/record_noise.py --prometheus http://127.0.0.1:9090 --from 1795233202 --to 1795233802 > …

The first brings a sandbox up that is not mis-set, waits, and takes it down again; the second asks a Prometheus that has
the samples already. One row a second: the four signals and the load as a trial sees them, over twice the scrape interval.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request

LEVERD = "target/debug/leverd"
# As src/config/defaults.rs has them, and the sandbox's load.
QUERIES = {
    "wal_rate": "max(rate(pg_wal_lsn_bytes_total[2s]))",
    "io_wait": 'avg(rate(node_cpu_seconds_total{mode="iowait"}[2s])) * 100',
    "p95_write_latency": "histogram_quantile(0.95, sum by (le) (rate(capsim_event_latency_ms_bucket[2s])))",
    "load": "sum(rate(capsim_events_written_total[2s]))",
}


def values(prometheus: str, query: str, begin: int, end: int) -> dict[int, float]:
    arguments = urllib.parse.urlencode({"query": query, "start": begin, "end": end, "step": 1})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{arguments}", timeout=60) as answer:
        series = json.load(answer)["data"]["result"]
    if not series:
        sys.exit(f"error: {query} has no samples there")
    return {int(at): float(value) for at, value in series[0]["values"]}


def table(prometheus: str, begin: int, end: int, words: str) -> str:
    columns = {name: values(prometheus, query, begin, end) for name, query in QUERIES.items()}
    lines = [f"# {words}", "# one row a second; empty: no sample"]
    lines += [f"# {name}: {query}" for name, query in QUERIES.items()]
    lines.append(",".join(columns))
    for second in range(begin, end):
        row = (column.get(second) for column in columns.values())
        # NaN is a second without an event.
        lines.append(",".join("" if value is None or value != value else f"{value:.5g}" for value in row))
    return "\n".join(lines) + "\n"


def sandbox(scenario: str, minutes: float) -> str:
    up = [LEVERD, "sandbox", "up", "--healthy", "--scenario", scenario, "--no-tty"]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    try:
        told = subprocess.run([LEVERD, "sandbox", "status", "--json"], check=True, capture_output=True, text=True)
        begin = int(time.time())
        time.sleep(60 * minutes)
        prometheus = json.loads(told.stdout)["prometheus"]
        words = f"the scenario {scenario}, healthy, for {minutes:g} minutes, nothing changed"
        return table(prometheus, begin, int(time.time()), words)
    finally:
        subprocess.run([LEVERD, "sandbox", "down"], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="healthy")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--prometheus")
    parser.add_argument("--from", dest="begin", type=int)
    parser.add_argument("--to", dest="end", type=int)
    parser.add_argument("--words", default="recorded")
    given = parser.parse_args()
    if given.prometheus:
        if given.begin is None or given.end is None:
            parser.error("--prometheus needs --from and --to")
        sys.stdout.write(table(given.prometheus, given.begin, given.end, given.words))
    else:
        sys.stdout.write(sandbox(given.scenario, given.minutes))


main()
