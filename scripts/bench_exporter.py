"""The measuring of bench_exporter.sh: starts a private Postgres and the exporters, scrapes, counts, prints."""

import glob
import os
import pathlib
import pwd
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SCRAPES = int(os.environ.get("SCRAPES", "100"))
SECONDS_EACH = int(os.environ.get("SECONDS_EACH", "20"))
TICKS = os.sysconf("SC_CLK_TCK")


def fail(words):
    sys.exit(f"bench: {words}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def leverd_binary():
    if os.environ.get("LEVERD"):
        return os.environ["LEVERD"]
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "leverd"], check=True)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return os.path.join(target, "release", "leverd")


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


class Exporter:
    def __init__(self, name, port, command, environment=None):
        self.name, self.port, self.times = name, port, []
        environment = {**os.environ, **(environment or {})}
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, **output)

    def scrape(self):
        begun = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            chunks = []
            while chunk := connection.recv(1 << 20):
                chunks.append(chunk)
        took = time.perf_counter() - begun
        head, _, body = b"".join(chunks).partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            fail(f"{self.name} answers {head[:80]!r}")
        return took, body.decode()

    def wait_until_serving(self, needle):
        deadline = time.monotonic() + 30
        while True:
            try:
                if needle in self.scrape()[1]:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                fail(f"{self.name} does not serve {needle}")
            time.sleep(0.1)

    def cpu_seconds(self):
        """The scheduler's account over all threads, finer than the ticks of /proc/PID/stat; those where it has none."""
        tasks = glob.glob(f"/proc/{self.process.pid}/task/*/schedstat")
        if tasks:
            return sum(int(pathlib.Path(task).read_text().split()[0]) for task in tasks) / 1e9
        words = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def memory(self):
        rollup = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        rows = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        return rows["Rss"] / 1024, rows["Pss"] / 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


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
            Exporter("leverd", ports[0], [leverd, "exporter", "--listen", listen[0], "--dsn", dsn]),
            Exporter("node_exporter", ports[1], [node, f"--web.listen-address={listen[1]}"]),
            Exporter(
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
    medians = {exporter.name: [] for exporter in exporters}
    for round_number in range(ROUNDS):
        for exporter in exporters:
            times = [exporter.scrape()[0] for _ in range(SCRAPES)]
            exporter.times += times
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
        cpu = cpu_per_round[exporter.name]
        rows[exporter.name] = {
            "memory RSS, MB": (rss, f"{rss:.1f}"),
            "memory PSS, MB": (pss, f"{pss:.1f}"),
            "series": (
                series := sum(1 for line in body.splitlines() if line and not line.startswith("#")),
                f"{series}",
            ),
            "scrape median, ms": (
                statistics.median(exporter.times) * 1000,
                f"{statistics.median(exporter.times) * 1000:.2f} "
                f"({min(medians[exporter.name]):.2f}-{max(medians[exporter.name]):.2f})",
            ),
            "scrape p95, ms": (
                percentile(exporter.times, 0.95) * 1000,
                f"{percentile(exporter.times, 0.95) * 1000:.2f}",
            ),
            "CPU s/hour at 1 scrape/s": (
                statistics.median(cpu),
                f"{statistics.median(cpu):.1f} ({min(cpu):.1f}-{max(cpu):.1f})",
            ),
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
