"""The measuring of bench_exporter.sh: starts a private Postgres and the exporters, scrapes, counts, prints."""

import glob
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from bench_common import ROUNDS, Server, fail, free_port, leverd_binary, percentile, with_range

SCRAPES = int(os.environ.get("SCRAPES", "100"))
SECONDS_EACH = int(os.environ.get("SECONDS_EACH", "20"))


class Postgres:
    """A private server in a folder of its own, as an unprivileged user where this is root."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        on_path = shutil.which("initdb")
        if not found and not on_path:
            fail("Postgres' server programs are needed: scripts/setup.sh installs them")
        self.bin = found[-1] if found else os.path.dirname(on_path)
        self.folder = tempfile.mkdtemp(prefix="leverd-bench-")
        self.data, self.port, self.demote = os.path.join(self.folder, "data"), free_port(), {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.demote = {"user": user.pw_uid, "group": user.pw_gid}
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = os.path.join(self.folder, "log")
        self.run("pg_ctl", "start", "-w", "-D", self.data, "-o", options, "-l", log)

    def run(self, program, *arguments):
        command = [os.path.join(self.bin, program), *arguments]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, cwd=self.folder, timeout=120, **quiet, **self.demote)

    def stop(self):
        try:
            self.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.data)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    node, postgres_exporter = shutil.which("prometheus-node-exporter"), shutil.which("prometheus-postgres-exporter")
    if not node or not postgres_exporter:
        fail("prometheus-node-exporter and prometheus-postgres-exporter are needed to compare with")
    leverd = leverd_binary()
    postgres, exporters = Postgres(), []
    try:
        dsn = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres?sslmode=disable"
        ports = [free_port() for _ in range(3)]
        listen = [f"127.0.0.1:{port}" for port in ports]
        exporters = [
            Server("leverd", ports[0], [leverd, "exporter", "--listen", listen[0], "--dsn", dsn]),
            Server("node_exporter", ports[1], [node, f"--web.listen-address={listen[1]}"]),
            Server(
                "postgres_exporter",
                ports[2],
                [postgres_exporter, f"--web.listen-address={listen[2]}"],
                {"DATA_SOURCE_NAME": dsn},
            ),
        ]
        for exporter, needle in zip(exporters, ["pg_up 1", "node_load1", "pg_up 1"]):
            exporter.wait_until_serving(needle)
        measure(exporters)
    finally:
        for exporter in exporters:
            exporter.stop()
        postgres.stop()


def measure(exporters):
    cpu_per_round = {exporter.name: [] for exporter in exporters}
    all_times = {exporter.name: [] for exporter in exporters}
    medians = {exporter.name: [] for exporter in exporters}
    for round_number in range(ROUNDS):
        for exporter in exporters:
            times = [exporter.scrape()[0] for _ in range(SCRAPES)]
            all_times[exporter.name] += times
            medians[exporter.name].append(statistics.median(times) * 1000)
        before = {exporter.name: exporter.cpu_seconds() for exporter in exporters}
        begun = time.monotonic()
        for second in range(SECONDS_EACH):
            for exporter in exporters:
                exporter.scrape()
            time.sleep(max(0, begun + second + 1 - time.monotonic()))
        wall = time.monotonic() - begun
        for exporter in exporters:
            used = exporter.cpu_seconds() - before[exporter.name]
            cpu_per_round[exporter.name].append(used / wall * 3600)
        print(f"round {round_number + 1} of {ROUNDS} done", file=sys.stderr)
    rows = {}
    for exporter in exporters:
        body = exporter.scrape()[1]
        rss, pss = exporter.memory()
        cpu, times = cpu_per_round[exporter.name], all_times[exporter.name]
        median = statistics.median(times) * 1000
        p95 = percentile(times, 0.95) * 1000
        rows[exporter.name] = {
            "memory RSS, MB": (rss, f"{rss:.1f}"),
            "memory PSS, MB": (pss, f"{pss:.1f}"),
            "series": (
                series := sum(1 for line in body.splitlines() if line and not line.startswith("#")),
                f"{series}",
            ),
            "scrape median, ms": (median, with_range(median, medians[exporter.name], 2)),
            "scrape p95, ms": (p95, f"{p95:.2f}"),
            "CPU s/hour at 1 scrape/s": (statistics.median(cpu), with_range(statistics.median(cpu), cpu, 1)),
            "page, kB": (len(body) / 1000, f"{len(body) / 1000:.1f}"),
        }
    show(rows)


def show(rows):
    goals = {
        "memory RSS, MB": 12,
        "series": 300,
        "scrape median, ms": 3,
    }
    print(f"\n{ROUNDS} rounds of {SCRAPES} scrapes and {SECONDS_EACH} s; in parentheses the rounds' range\n")
    print(f"{'':26}{'leverd':>22}{'node_exporter':>22}{'postgres_exporter':>24}  both together")
    for row in rows["leverd"]:
        ours, node, postgres = (rows[name][row] for name in ("leverd", "node_exporter", "postgres_exporter"))
        both = node[0] + postgres[0]
        goal = goals.get(row)
        words = [] if goal is None else [f"goal {goal}: {'reached' if ours[0] <= goal else 'MISSED'}"]
        words.append("less than both" if ours[0] < both else "MORE than both")
        print(f"{row:26}{ours[1]:>22}{node[1]:>22}{postgres[1]:>24}  {both:.1f}; {', '.join(words)}")


if __name__ == "__main__":
    main()
