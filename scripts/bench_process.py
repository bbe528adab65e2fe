"""A program under measurement that ends by itself: its time, what its processes used, what the machine lost meanwhile.

The program gets a session of its own, so that its processes are told from all others, also when one of them outlives
its parent. Only processes of that session are ever ended. Memory is read ten times a second where there is a /proc.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing

SAMPLE_SECONDS = 0.1
# Which processes there are, and their shares of what they have in common, cost more to ask than how big each one is.
SAMPLES_PER_LOOK = 3
SAMPLES_PER_PSS = 10
# What a program has to end after SIGTERM, before SIGKILL.
GRACE_SECONDS = 10
PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1 << 20
HAS_PROC = pathlib.Path("/proc/self/stat").exists()


class Usage(typing.NamedTuple):
    exit_code: int
    timed_out: bool
    wall_s: float
    # Of all its processes that were waited for.
    cpu_s: float
    # The most that its processes had at one time. What they share is in RSS once for each of them, in PSS once.
    # None: there is no /proc, or it was over before the first look.
    peak_rss_mb: typing.Optional[float]
    peak_pss_mb: typing.Optional[float]
    # The kernel's own figure (ru_maxrss) for the largest one; never below what this bench itself has, which its
    # children were for a moment.
    largest_process_mb: float
    # Of all processors' time while it ran: what the host gave to others.
    steal_percent: typing.Optional[float]


def environment(folder, first_on_path=()):
    """Nothing of the caller's reaches a program under measurement: no PGHOST, no password, no log level."""
    path = [*map(str, first_on_path), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
    return {"PATH": os.pathsep.join(path), "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": locale}


def measure(command, folder, variables, log, timeout_s, stdout=None, leave_out_leader=False):
    """Runs the command to its end, or to the time-out. `leave_out_leader`: the first process is a shell of ours, which
    is none of the tool's memory."""
    before = processor_times()
    with open(log, "ab") as errors, open(stdout or log, "ab") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    waiter = Waiter(process)
    memory = Memory(process.pid, leave_out_leader)
    timed_out = False
    try:
        while not waiter.ended.wait(SAMPLE_SECONDS):
            memory.sample()
            if time.perf_counter() - begun > timeout_s:
                timed_out = True
                break
    finally:
        # After an end in order nobody is left; else it timed out, or somebody stops the bench.
        end_session(process.pid, waiter)
    waiter.join()
    return Usage(
        exit_code=process.returncode,
        timed_out=timed_out,
        wall_s=waiter.ended_at - begun,
        cpu_s=waiter.usage.ru_utime + waiter.usage.ru_stime,
        peak_rss_mb=memory.peak_rss / MB if memory.peak_rss else None,
        peak_pss_mb=memory.peak_pss / MB if memory.peak_pss else None,
        largest_process_mb=waiter.usage.ru_maxrss / (1024 if sys.platform == "linux" else MB),
        steal_percent=steal_percent(before, processor_times()),
    )


class Waiter(threading.Thread):
    """Notes when the process ends, at once and not at the next look, and what it had used by then."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.ended = process, threading.Event()
        self.ended_at, self.usage = 0.0, None
        self.start()

    def run(self):
        _, status, self.usage = os.wait4(self.process.pid, 0)
        self.ended_at = time.perf_counter()
        # Popen would wait for it once more.
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.ended.set()


class Memory:
    """The most that the processes of a session had together."""

    def __init__(self, session, leave_out_leader):
        self.session, self.leave_out_leader = session, leave_out_leader
        self.pids, self.samples = [], 0
        self.peak_rss, self.peak_pss = 0, 0

    def sample(self):
        if not HAS_PROC:
            return
        if self.samples % SAMPLES_PER_LOOK == 0:
            self.pids = [pid for pid in members(self.session) if not (self.leave_out_leader and pid == self.session)]
        self.peak_rss = max(self.peak_rss, sum(map(rss, self.pids)))
        if self.samples % SAMPLES_PER_PSS == 0:
            self.peak_pss = max(self.peak_pss, sum(map(pss, self.pids)))
        self.samples += 1


def rss(pid):
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except OSError:
        # It has ended meanwhile.
        return 0


def pss(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def members(session):
    """The processes of a session that still run."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"/proc/{entry.name}/stat", encoding="utf-8", errors="replace") as file:
                # The command's name stands in parentheses and may hold anything; what follows cannot.
                state, _, _, its_session = file.read().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state not in ("Z", "X"):
            found.append(int(entry.name))
    return found


def end_session(session, waiter):
    """Ends what still runs of a session: asks, waits, then insists."""
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        for pid in still_there(session, waiter):
            try:
                os.kill(pid, wanted)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + GRACE_SECONDS
        while still_there(session, waiter) and time.monotonic() < deadline:
            time.sleep(0.05)


def still_there(session, waiter):
    if HAS_PROC:
        return members(session)
    return [] if waiter.ended.is_set() else [session]


def processor_times():
    """The first eight of /proc/stat's: user, nice, system, idle, iowait, irq, softirq, steal."""
    if not HAS_PROC:
        return None
    with open("/proc/stat", encoding="ascii") as file:
        return [int(word) for word in file.readline().split()[1:9]]


def steal_percent(before, after):
    if before is None or after is None:
        return None
    passed = [later - earlier for earlier, later in zip(before, after)]
    return 100 * passed[7] / sum(passed) if sum(passed) else 0.0
