"""What the benches share: a program under measurement, which leverd to run, and figures with their range."""

import glob
import os
import pathlib
import socket
import subprocess
import sys
import time

ROUNDS = int(os.environ.get("ROUNDS", "3"))
TICKS = os.sysconf("SC_CLK_TCK")


def fail(words):
    sys.exit(f"bench: {words}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def leverd_binary():
    """The program under measurement, which is told: a debug build would be told by nothing else."""
    program = built_leverd()
    print(f"measured is {program}", file=sys.stderr, flush=True)
    return program


def built_leverd():
    if os.environ.get("LEVERD"):
        return os.environ["LEVERD"]
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "leverd"], check=True)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return os.path.join(target, "release", "leverd")


class Server:
    """A program that serves /metrics on loopback, and what it uses up."""

    def __init__(self, name, port, command, environment=None):
        self.name, self.port = name, port
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
            return sum(run_time(pathlib.Path(task)) for task in tasks) / 1e9
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
            self.process.wait()


def run_time(schedstat):
    try:
        return int(schedstat.read_text().split()[0])
    except OSError:
        # The thread has ended meanwhile.
        return 0


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def with_range(middle, rounds, digits):
    return f"{middle:.{digits}f} ({min(rounds):.{digits}f}-{max(rounds):.{digits}f})"
