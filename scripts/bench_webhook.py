"""The measuring of bench_webhook.sh: starts leverd and an Alertmanager, sends both the same alerts, counts, prints.

A wave of new alerts is sent, then the same again, and then that all of them are resolved, which is not measured:
leverd takes 10,000 firing ones at most. The same goes to a server that does nothing, for what the client itself can do.
New alerts wake leverd's loop, as ever: what it does then is in leverd's figures.
"""

import collections
import contextlib
import datetime
import gc
import json
import multiprocessing
import os
import pathlib
import re
import secrets
import selectors
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
import typing

from bench_common import ROUNDS, Server, fail, free_port, leverd_binary, percentile, with_range

LONGEST = int(os.environ.get("LONGEST", "110"))
# What each of the two kinds is in leverd's answer.
KINDS = {"new": "accepted", "repeated": "duplicates"}
# Alerts in the bodies that resolve a wave.
AT_ONCE = 1000
# From this share of the ceiling on, the client's own time is most of what is measured.
CLIENT_BOUND = 0.5
SEND = "send"
CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
PROCESSES = multiprocessing.get_context("fork")


class Case(typing.NamedTuple):
    per_body: int
    clients: int
    # Of one wave, shared by the clients; with the alerts of one more body they must have room in leverd.
    bodies: int
    waves: int

    def title(self, kind):
        alerts = "1 alert" if self.per_body == 1 else f"{self.per_body} alerts"
        clients = "1 client" if self.clients == 1 else f"{self.clients} clients at once"
        return f"{kind} alerts, {alerts} a body, {clients}"


CASES = [Case(1, 1, 4000, 1), Case(1, 8, 4000, 1), Case(1000, 1, 8, 3), Case(1000, 8, 8, 3)]


class Target(typing.NamedTuple):
    name: str
    port: int
    path: str
    health: str
    body: typing.Callable
    authorization: str = ""


class Order(typing.NamedTuple):
    """What a client is to prepare: so many bodies, of alerts that are numbered from `first` on."""

    target: Target
    first: int
    bodies: int
    per_body: int
    since: str
    ended: str = ""


def now(later=0):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=later)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- The alerts ----------------------------------------------------------------------------------------------------


def alert(number, since):
    """As monitoring/alerts.yml has it, of as many servers as there are numbers."""
    return {
        "labels": {
            "alertname": "WalSpikes",
            "instance": f"db-{number}:9188",
            "severity": "warning",
            "signal": "wal_rate",
            "symptom": "high_wal_rate",
            "tuning_trigger": "true",
        },
        "annotations": {
            "summary": "WAL rate is above its level",
            "description": "2.3MiB of WAL are written per second (5 min average); at most 1.5 × the baseline.",
            "runbook": "`leverd plan` shows what leverd would do and why; `leverd history` what it has done.",
        },
        "startsAt": since,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=leverd%3Awal_bytes%3Arate5m+%3E+1.5&g0.tab=1",
    }


def webhook_body(numbers, since, ended):
    """Alertmanager's webhook, version 4."""
    status = "resolved" if ended else "firing"
    return {
        "version": "4",
        "groupKey": '{}/{tuning_trigger="true"}:{alertname="WalSpikes", signal="wal_rate"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "leverd",
        "groupLabels": {"alertname": "WalSpikes", "signal": "wal_rate"},
        "commonLabels": {"alertname": "WalSpikes", "signal": "wal_rate", "tuning_trigger": "true"},
        "commonAnnotations": {"summary": "WAL rate is above its level"},
        "externalURL": "http://alertmanager:9093",
        "alerts": [
            {
                "status": status,
                **alert(number, since),
                "endsAt": ended or "0001-01-01T00:00:00Z",
                "fingerprint": f"{number:016x}",
            }
            for number in numbers
        ],
    }


def alertmanager_body(numbers, since, ended):
    """As Prometheus posts it: an alert that fires names the time at which it ends unless it is said again."""
    ends = ended or now(later=3600)
    return [{**alert(number, since), "endsAt": ends} for number in numbers]


def content(order, body_number):
    first = order.first + body_number * order.per_body
    body = order.target.body(range(first, first + order.per_body), order.since, order.ended)
    return json.dumps(body, separators=(",", ":")).encode()


# --- A client, in a process of its own: threads of one Python would wait for each other ----------------------------


def client(parents_end, pipe):
    """Prepares what it is ordered to, sends it each time that it is told to, and answers with the times."""
    # Else it would never learn that the parent is gone.
    parents_end.close()
    leave_signals_to_the_parent()
    gc.disable()
    connection, requests = None, []
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        try:
            if order == SEND:
                pipe.send(send_all(connection, requests))
                continue
            if connection:
                connection.close()
            requests = [request(order.target, content(order, number)) for number in range(order.bodies)]
            connection = connect(order.target)
            pipe.send(None)
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


def leave_signals_to_the_parent():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def request(target, body):
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: bench\r\n{target.authorization}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(target):
    """A connection that has had an answer already, so that being accepted is not measured."""
    connection = socket.create_connection(("127.0.0.1", target.port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    exchange(connection, f"GET {target.health} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    return connection


def exchange(connection, wanted):
    connection.sendall(wanted)
    answer = b""
    while True:
        chunk = connection.recv(1 << 16)
        if not chunk:
            raise ConnectionError(f"the answer broke off after {answer[:200]!r}")
        answer += chunk
        head, is_whole, body = answer.partition(b"\r\n\r\n")
        if is_whole and len(body) >= content_length(head):
            return head, body


def content_length(head):
    found = CONTENT_LENGTH.search(head)
    return int(found.group(1)) if found else 0


def send_all(connection, requests):
    """When the first was sent and the last answered, each one's time, and what leverd says it did, summed."""
    times, answers = [], []
    begun = time.perf_counter()
    for wanted in requests:
        sent = time.perf_counter()
        answers.append(exchange(connection, wanted))
        times.append(time.perf_counter() - sent)
    ended = time.perf_counter()
    done = collections.Counter()
    for head, body in answers:
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise ValueError(f"the answer was {head[:40]!r} {body[:200]!r}")
        if body:
            done.update(json.loads(body))
    return begun, ended, times, done


class Clients:
    def __init__(self, count):
        self.pipes, self.processes = [], []
        for _ in range(count):
            ours, theirs = PROCESSES.Pipe()
            self.processes.append(start_process(client, ours, theirs))
            self.pipes.append(ours)
            theirs.close()

    def tell(self, target, orders):
        for pipe, order in zip(self.pipes, orders):
            pipe.send(order)
        answers = [pipe.recv() for pipe in self.pipes[: len(orders)]]
        for answer in answers:
            if isinstance(answer, str):
                fail(f"{target.name}: {answer}")
        return answers

    def stop(self):
        for process in self.processes:
            stop_process(process)


def start_process(work, *arguments):
    process = PROCESSES.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def stop_process(process):
    process.terminate()
    process.join(10)


# --- The servers ---------------------------------------------------------------------------------------------------


def start_leverd(folder, program):
    # Refuses at once: leverd's loop looks, finds nothing, and there is nothing that it could change.
    nobody = "127.0.0.1:1"
    port, token = free_port(), secrets.token_hex(32)
    descriptor = os.open(folder / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    config = folder / "leverd.yaml"
    config.write_text(
        f'target: {{dsn: "postgresql://nobody@{nobody}/nothing"}}\n'
        f'prometheus: {{url: "http://{nobody}"}}\n'
        # As short as it may be: at its start leverd reads twice, with a part of a cycle in between.
        "cycle: {load_cycle: 10s, scrape_interval: 1s}\n"
        f'exporter: {{listen: "127.0.0.1:{port}", host: false, postgres: false, write_probe: false}}\n'
        "api: {token_file: token}\n"
        f"levers: {json.dumps(str(pathlib.Path('config/levers.yaml').resolve()))}\n",
        encoding="utf-8",
    )
    server = Server("leverd", port, [program, "run", "--config", str(config)])
    authorization = f"Authorization: Bearer {token}\r\n"
    return server, Target("leverd", port, "/api/v1/alerts", "/healthz", webhook_body, authorization)


def start_alertmanager(folder, program):
    """As it comes, with a receiver that tells nobody."""
    port, config = free_port(), folder / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n", encoding="utf-8")
    command = [
        program,
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    target = Target("alertmanager", port, "/api/v2/alerts", "/-/healthy", alertmanager_body)
    return Server("alertmanager", port, command), target


def answer_at_once(listener, parent):
    """Reads what comes, and does nothing with it."""
    leave_signals_to_the_parent()
    missing = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in selector.select(timeout=1):
                connection = key.fileobj
                if connection is listener:
                    connection, _ = listener.accept()
                    selector.register(connection, selectors.EVENT_READ)
                    missing[connection] = 0
                    continue
                chunk = connection.recv(1 << 20)
                if not chunk:
                    selector.unregister(connection)
                    connection.close()
                    del missing[connection]
                    continue
                if missing[connection] == 0:
                    # Our clients send a head in one piece.
                    head, end, _ = chunk.partition(b"\r\n\r\n")
                    missing[connection] = len(head) + len(end) + content_length(head)
                missing[connection] -= len(chunk)
                if missing[connection] == 0:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def start_ceiling():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = start_process(answer_at_once, listener, os.getpid())
        return process, Target("ceiling", listener.getsockname()[1], "/", "/", webhook_body)


# --- The measuring -------------------------------------------------------------------------------------------------


class Tally:
    """What one target did with one kind of alerts, in one round of a case."""

    def __init__(self):
        self.times, self.seconds, self.cpu = [], 0.0, 0.0

    def figures(self, per_body):
        bodies = len(self.times)
        return {
            "bodies/s": bodies / self.seconds,
            "alerts/s": bodies * per_body / self.seconds,
            "answer p50, ms": percentile(self.times, 0.5) * 1000,
            "answer p99, ms": percentile(self.times, 0.99) * 1000,
            "CPU, µs an alert": self.cpu / (bodies * per_body) * 1e6,
        }


class Bench:
    def __init__(self, clients, targets, servers):
        self.clients, self.targets, self.servers = clients, targets, servers
        # No two waves have an alert in common.
        self.next_number = 1
        # By case, kind and target: the figures of each round.
        self.figures = collections.defaultdict(list)

    def round(self):
        for case in CASES:
            tallies = collections.defaultdict(Tally)
            for _ in range(case.waves):
                for target in self.targets:
                    self.wave(case, target, tallies)
            for (kind, name), tally in tallies.items():
                self.figures[case, kind, name].append(tally.figures(case.per_body))

    def wave(self, case, target, tallies):
        first, alerts = self.next_number, case.bodies * case.per_body
        self.next_number += alerts
        share, since = case.bodies // case.clients, now()
        starts = range(first, first + alerts, share * case.per_body)
        self.clients.tell(target, [Order(target, start, share, case.per_body, since) for start in starts])
        for kind in KINDS:
            self.send(case, target, kind, tallies[kind, target.name])
        self.clients.tell(target, [Order(target, first, alerts // AT_ONCE, AT_ONCE, since, ended=now())])
        self.clients.tell(target, [SEND])

    def send(self, case, target, kind, tally):
        server = self.servers.get(target.name)
        before = server.cpu_seconds() if server else 0
        answers = self.clients.tell(target, [SEND] * case.clients)
        tally.cpu += server.cpu_seconds() - before if server else 0
        begun, ended, times, done = zip(*answers)
        tally.seconds += max(ended) - min(begun)
        tally.times += [taken for each in times for taken in each]
        counted = sum(each[KINDS[kind]] for each in done)
        if target.name == "leverd" and counted != case.bodies * case.per_body:
            fail(f"leverd counts {counted} {KINDS[kind]} among the {kind} alerts of {case}")


def main():
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if not program:
        fail("Alertmanager is needed to compare with: scripts/setup.sh installs it")
    built = leverd_binary()
    # As an exception: the servers and the clients are then stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leverd-bench-")))
        idle, ceiling = start_ceiling()
        stack.callback(stop_process, idle)
        clients = Clients(max(case.clients for case in CASES))
        stack.callback(clients.stop)
        leverd, webhook = start_leverd(folder, built)
        stack.callback(leverd.stop)
        alertmanager, api = start_alertmanager(folder, program)
        stack.callback(alertmanager.stop)
        # Before its first look leverd's loop is not awake to alerts.
        leverd.wait_until_serving("leverd_tick_duration_seconds")
        alertmanager.wait_until_serving("alertmanager_build_info")
        servers = {server.name: server for server in (leverd, alertmanager)}
        resting = {name: server.memory()[0] for name, server in servers.items()}
        bench = Bench(clients, [webhook, api, ceiling], servers)
        rounds = measure(bench)
        show(bench.figures, rounds)
        # A target's share of the waves.
        show_memory(resting, servers, (bench.next_number - 1) // len(bench.targets))


def measure(bench):
    """The rounds that there was time for."""
    begun = time.monotonic()
    for done in range(1, ROUNDS + 1):
        bench.round()
        print(f"round {done} of {ROUNDS} done", file=sys.stderr)
        if done < ROUNDS and (time.monotonic() - begun) / done * (done + 1) > LONGEST:
            print(f"the next round could end after more than {LONGEST} s: it is left out", file=sys.stderr)
            return done
    return ROUNDS


def digits(value):
    """Three that count, or more before the point."""
    return 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3


def cell(values):
    middle = statistics.median(values)
    return with_range(middle, values, digits(middle))


def line(label, cells):
    print(f"{label:18}{cells[0]:>26}{cells[1]:>26}{cells[2]:>26}{cells[3]:>24}".rstrip())


def show(figures, rounds):
    print(f"\n{rounds} rounds, in which the servers take turns: the median round, in parentheses the rounds' range")
    print("the client's ceiling: the same clients and a server that only reads and says yes, both in Python\n")
    line("", ["leverd", "alertmanager", "leverd ÷ alertmanager", "client's ceiling"])
    for case, kind in ((case, kind) for case in CASES for kind in KINDS):
        ours, theirs, ceiling = (figures[case, kind, name] for name in ("leverd", "alertmanager", "ceiling"))
        print(f"\n{case.title(kind)}")
        for row in ours[0]:
            values = [[figure[row] for figure in each] for each in (ours, theirs, ceiling)]
            ratios = [our / their for our, their in zip(values[0], values[1])]
            most = cell(values[2]) if any(values[2]) else ""
            line(row, [cell(values[0]), cell(values[1]), cell(ratios), most])
        if share_of_ceiling(ours, theirs, ceiling) > CLIENT_BOUND:
            print("  the client takes most of this time: the servers differ more than these ratios say; see the CPU")


def share_of_ceiling(ours, theirs, ceiling):
    """How near the faster one comes to what the client can do."""
    rates = [statistics.median(figure["bodies/s"] for figure in each) for each in (ours, theirs, ceiling)]
    return max(rates[:2]) / rates[2]


def show_memory(resting, servers, alerts):
    print(f"\nmemory RSS; at the end each has had {alerts} different alerts, and none fires any more")
    print("(Alertmanager keeps resolved ones for up to 30 minutes; leverd remembers the last 20,000)")
    ending = {name: server.memory()[0] for name, server in servers.items()}
    for label, memory in (("at rest, MB", resting), ("at the end, MB", ending)):
        ours, theirs = memory["leverd"], memory["alertmanager"]
        line(label, [f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.3f}", ""])


if __name__ == "__main__":
    main()
