"""The measuring of bench_migration.sh: makes each data set in a private server, has the contenders move it into another
one by turns, compares what arrived, prints, and writes all figures down as JSON.
"""

import collections
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
import typing

from bench_common import ROUNDS, fail, leverd_binary, with_range
from bench_data import MB, SHORT, create, data_sets, difference, fill, size_of, sums_of_source
from bench_process import environment, measure
from bench_servers import (
    MariaDB,
    Postgres,
    SqlError,
    last_words,
    mariadb_programs,
    postgres_programs,
    work_folder,
    write_config,
)

JOBS = os.environ.get("JOBS", "2")
TIMEOUT_S = float(os.environ.get("TIMEOUT", "300" if SHORT else "1800"))
LONGEST_S = float(os.environ.get("LONGEST", "1200" if SHORT else "7200"))
OUT = pathlib.Path(os.environ.get("OUT", ".leverd/bench/migration.json"))
# From so many tables on, a pipe of its own for each would measure how programs start.
MANY_TABLES = 10


class Run(typing.NamedTuple):
    """What a contender's command is made from."""

    source: typing.Any
    target: Postgres
    folder: pathlib.Path
    data: typing.Any


class Contender(typing.NamedTuple):
    name: str
    # The file; None: it is not here.
    program: typing.Optional[str]
    command: typing.Callable
    engines: typing.Tuple[str, ...]
    # A pipe of COPYs finds its tables made, and builds no index.
    rows_only: bool = False
    # The command is a shell of ours around the tool.
    in_shell: bool = True


# --- The contenders ------------------------------------------------------------------------------------------------


def leverd(program):
    def command(run):
        config = run.folder / "migration.yaml"
        settings = json.loads(os.environ.get("MIGRATION", "{}"))
        ends = {"source": run.source.endpoint(), "target": run.target.endpoint()}
        write_config(config, {**ends, "migration": settings})
        return [program, "migrate", "run", "-c", str(config), "--no-tty"]

    return Contender("leverd", program, command, ("postgres", "mariadb"), in_shell=False)


def pgcopydb():
    program = shutil.which("pgcopydb")
    usage = help_of([program, "clone", "--help"]) if program else ""
    skips_vacuum = "--skip-vacuum" in usage
    if program and not skips_vacuum:
        say("pgcopydb: this version always does a VACUUM ANALYZE; with a later one (0.12) it would be an ANALYZE alone")

    def command(run):
        words = [program, "clone", "--source", run.source.conninfo(), "--target", run.target.conninfo()]
        words += ["--dir", str(run.folder / "pgcopydb"), "--table-jobs", JOBS, "--index-jobs", JOBS]
        if run.data.is_one_huge_table and "--split-tables-larger-than" in usage:
            words += ["--split-tables-larger-than", f"{max(1, run.data.bytes // 4 // 1_048_576)}MB"]
        if "--use-copy-binary" in usage:
            words.append("--use-copy-binary")
        if not skips_vacuum:
            return shell(words)
        return shell([*words, "--skip-vacuum"], analyze(run))

    return Contender("pgcopydb", program, command, ("postgres",))


def dump_and_restore(bin_folder):
    def command(run):
        folder = str(run.folder / "dump")
        dump = [bin_folder / "pg_dump", "-Fd", "-j", JOBS, "-Z", "0", "-f", folder, "-d", run.source.conninfo()]
        restore = [bin_folder / "pg_restore", "--exit-on-error", "-j", JOBS, "-d", run.target.conninfo(), folder]
        return shell(dump, restore, analyze(run))

    program = bin_folder / "pg_dump"
    return Contender("pg_dump+restore", str(program) if program.exists() else None, command, ("postgres",))


def pgloader():
    program = shutil.which("pgloader")

    def command(run):
        script = run.folder / "pgloader.load"
        ends = f"    FROM {run.source.pgloader_url()}\n    INTO {run.target.pgloader_url()}\n"
        # Of its 100,000 rows of a wide table its heap is exhausted.
        script.write_text(f"LOAD DATABASE\n{ends}WITH prefetch rows = 10000\n;\n", encoding="utf-8")
        return shell([program, "--root-dir", run.folder / "pgloader", script], analyze(run))

    return Contender("pgloader", program, command, ("postgres", "mariadb"))


def copy_pipe(bin_folder):
    """What two servers and two clients that know nothing can do: no plan, no indexes, no state, one stream."""

    def command(run):
        names = [table.name for table in run.data.tables]
        if len(names) >= MANY_TABLES:
            script = run.folder / "copy.sql"
            script.write_text("".join(map(copy_as_script, names)), encoding="utf-8")
            return shell(pipe(run.source.psql("-f", str(script)), run.target.psql("-f", "-")))
        pipes = []
        for name in names:
            read = run.source.psql("-c", f"COPY {name} TO STDOUT (FORMAT binary)")
            write = run.target.psql("-c", f"COPY {name} FROM STDIN (FORMAT binary)")
            pipes.append(pipe(read, write))
        return shell(*pipes)

    return Contender("copy-pipe", str(bin_folder / "psql"), command, ("postgres",), rows_only=True)


def copy_as_script(name):
    """What psql makes a script of: the table's rows with the statement before them that takes them in."""
    return f"\\echo 'COPY {name} FROM STDIN;'\nCOPY {name} TO STDOUT;\n\\echo '\\\\.'\n"


def analyze(run):
    """leverd leaves statistics behind; who does not gets them here, in its own time."""
    return [run.target.bin / "vacuumdb", "--analyze-only", "-q", "-j", JOBS, "-d", run.target.conninfo()]


def pipe(read, write):
    return f"{shlex.join(map(str, read))} | {shlex.join(map(str, write))}"


def shell(*commands):
    """A shell that does one after the other; each is a list of words, or a text of the shell's."""
    lines = [each if isinstance(each, str) else shlex.join(map(str, each)) for each in commands]
    # Without the last word bash would become the last command, and that would be taken for the shell.
    return ["bash", "-c", "\n".join(["set -euo pipefail", *lines, ":"])]


def help_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    return done.stdout.decode(errors="replace")


def first_line(command):
    """Of what it says to --version; empty where it says nothing."""
    lines = help_of([*command, "--version"]).strip().splitlines()
    return lines[0] if lines else ""


# --- The measuring -------------------------------------------------------------------------------------------------


class Scene:
    """A data set in its source, and the target beside it."""

    def __init__(self, stack, folder, data):
        self.data, self.folder = data, folder / data.name
        self.folder.mkdir()
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        say(f"{data.name}: making {data.title}")
        source = MariaDB if data.engine == "mariadb" else Postgres
        self.source = source("source", self.folder)
        stack.callback(self.source.stop)
        self.target = Postgres("target", self.folder)
        stack.callback(self.target.stop)
        fill(self.source, data)
        # Rows, and indexes of about as much again.
        self.target.warm_up(2 * data.bytes_at_most() / MB)
        self.bytes = size_of(self.source, data)
        self.expected = sums_of_source(self.source, data)
        self.rows = sum(each.rows for each in self.expected.values())

    def run(self, contender):
        """One contender's turn, from an empty target to the comparison."""
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.target.empty()
        if contender.rows_only:
            self.target.sql("".join(map(create, self.data.tables)))
        command = contender.command(Run(self.source, self.target, folder, self.data))
        self.settle()
        log = folder / "log"
        variables = environment(folder, [self.target.bin])
        usage = measure(command, folder, variables, log, TIMEOUT_S, leave_out_leader=contender.in_shell)
        why = self.objection(contender, usage, log)
        shutil.rmtree(folder, ignore_errors=True)
        return usage, why

    def settle(self):
        self.source.settle()
        self.target.settle()
        os.sync()

    def objection(self, contender, usage, log):
        """Why this run has no figure; None: it has."""
        if usage.timed_out:
            return f"not done after {TIMEOUT_S:.0f} s"
        if usage.exit_code != 0:
            return f"exit code {usage.exit_code}: {last_words(log.read_text(errors='replace'))}"
        self.target.settle()
        return difference(self.target, self.data, self.expected, has_keys=not contender.rows_only)


def rounds_of(scene, contenders):
    """The records of all rounds that there was time for."""
    records, refused = [], {}
    begun = time.monotonic()
    for number in range(ROUNDS):
        shift = number % len(contenders)
        for contender in contenders[shift:] + contenders[:shift]:
            if contender.name in refused:
                continue
            usage, why = scene.run(contender)
            records.append(record_of(scene, contender, number + 1, usage, why))
            words = f"no figure: {why}" if why else f"{usage.wall_s:.2f} s"
            say(f"{scene.data.name}, round {number + 1} of {ROUNDS}: {contender.name}: {words}")
            if why:
                refused[contender.name] = why
        if number + 1 < ROUNDS and (time.monotonic() - begun) / (number + 1) * (number + 2) > LONGEST_S:
            say(f"{scene.data.name}: the next round could end after more than {LONGEST_S:.0f} s: it is left out")
            break
    return records


def record_of(scene, contender, number, usage, why):
    return {
        "data": scene.data.name,
        "contender": contender.name,
        "round": number,
        "refused": why,
        "rows": scene.rows,
        "rows_per_s": scene.rows / usage.wall_s if usage.wall_s else None,
        **usage._asdict(),
    }


# --- What is printed -----------------------------------------------------------------------------------------------

COLUMNS = [
    # The title, the record's key, what it is divided by.
    ("wall, s", "wall_s", 1),
    ("1000 rows/s", "rows_per_s", 1000),
    ("RSS, MB", "peak_rss_mb", 1),
    ("PSS, MB", "peak_pss_mb", 1),
    ("CPU, s", "cpu_s", 1),
    ("steal, %", "steal_percent", 1),
]
WIDTH = 22


def digits(value):
    """Three that count, or more before the point."""
    return 0 if value >= 100 else 1 if value >= 10 else 2


def cell(values):
    if not values or any(value is None for value in values):
        return "-"
    middle = statistics.median(values)
    return with_range(middle, values, digits(middle))


def summarize(scene, contenders, records):
    """Prints the data set's table; gives the same for the JSON."""
    by_name = collections.defaultdict(list)
    for record in records:
        by_name[record["contender"]].append(record)
    print(f"\n{scene.data.name}: {scene.data.title}; {scene.rows} rows, {scene.bytes / MB:.0f} MB")
    titles = [title for title, _, _ in COLUMNS] + ["÷ leverd's time"]
    print(f"{'':17}{''.join(title.rjust(WIDTH) for title in titles)}")
    ours = figures(by_name["leverd"])
    summary = {}
    for contender in contenders:
        theirs = by_name[contender.name]
        refused = next((record["refused"] for record in theirs if record["refused"]), None)
        if refused or not theirs:
            print(f"{contender.name:17}  no figure: {refused or 'it had no turn'}")
            summary[contender.name] = {"refused": refused or "no turn"}
            continue
        ratios = paired(figures(theirs), ours)
        cells = [cell([scaled(record[key], by) for record in theirs]) for _, key, by in COLUMNS]
        cells.append("1" if contender.name == "leverd" else cell(ratios))
        print(f"{contender.name:17}{''.join(each.rjust(WIDTH) for each in cells)}")
        summary[contender.name] = {key: middle_and_range([each[key] for each in theirs]) for _, key, _ in COLUMNS}
        summary[contender.name]["times_of_leverd"] = middle_and_range(ratios)
    sys.stdout.flush()
    return summary


def figures(records):
    """Wall seconds by round; none at all where one run was refused."""
    if any(record["refused"] for record in records):
        return {}
    return {record["round"]: record["wall_s"] for record in records}


def paired(theirs, ours):
    """A peer's time over leverd's of the same round."""
    return [theirs[number] / ours[number] for number in sorted(theirs) if number in ours]


def scaled(value, by):
    return None if value is None else value / by


def middle_and_range(values):
    if not values or any(value is None for value in values):
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def say(words):
    print(words, file=sys.stderr, flush=True)


# --- All of it -----------------------------------------------------------------------------------------------------


def chosen(names, variable):
    """Those that the variable names; all where it names none."""
    asked = [word for word in os.environ.get(variable, "").split(",") if word]
    unknown = sorted(set(asked) - set(names))
    if unknown:
        fail(f"{variable}: there is no {', '.join(unknown)}; there are {', '.join(names)}")
    return [name for name in names if name in asked or not asked]


def all_contenders(bin_folder):
    program = os.path.abspath(leverd_binary())
    found = [leverd(program), pgcopydb(), dump_and_restore(bin_folder), pgloader(), copy_pipe(bin_folder)]
    wanted = chosen([each.name for each in found], "CONTENDERS")
    for each in found:
        if each.name in wanted and each.program is None:
            say(f"{each.name} is not here and is left out: scripts/setup.sh --for bench installs it")
    return [each for each in found if each.name in wanted and each.program]


def enough_room(folder, sets):
    """Rows and indexes on both sides, a dump, and both servers' WAL."""
    need = 8 * max(data.bytes_at_most() for data in sets) + 3000 * MB
    free = shutil.disk_usage(folder).free
    if free < need:
        fail(f"{need / MB:.0f} MB of disk are needed and {free / MB:.0f} are free: WORK_DIR=FOLDER names another one")


def machine():
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MB,
    }


def write_down(report):
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure_data_set(folder, data, contenders, report):
    able = [contender for contender in contenders if data.engine in contender.engines]
    if data.engine == "mariadb" and not mariadb_programs():
        say("MariaDB is not here and its data set is left out: scripts/setup.sh --for bench installs it")
        return
    if not able:
        return
    with contextlib.ExitStack() as stack:
        scene = Scene(stack, folder, data)
        report["servers"][data.name] = [scene.source.version(), scene.target.version()]
        records = rounds_of(scene, able)
        report["runs"] += records
        report["summary"][data.name] = {
            "title": data.title,
            "rows": scene.rows,
            "bytes": scene.bytes,
            "contenders": summarize(scene, able, records),
        }
        # After each, so that a later failure loses nothing.
        write_down(report)


def stop(*_):
    sys.exit(143)


def main():
    # As an exception: the servers and the contender are then stopped, too.
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
    contenders = all_contenders(postgres_programs())
    names = chosen([data.name for data in data_sets()], "ONLY")
    sets = [data for data in data_sets() if data.name in names]
    report = {
        "began": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "short": SHORT,
        "rounds": ROUNDS,
        "jobs": JOBS,
        "timeout_s": TIMEOUT_S,
        "machine": machine(),
        "versions": {each.name: first_line([each.program]) for each in contenders},
        "servers": {},
        "runs": [],
        "summary": {},
    }
    print(f"{ROUNDS} rounds, in which the contenders take turns: the median, in parentheses the rounds' range")
    print("RSS and PSS: the most that a tool's processes had at one time, the servers aside; steal: what the host took")
    print("÷ leverd's time: a contender's over leverd's of the same round; more than 1 is slower than leverd")
    try:
        with work_folder() as folder:
            enough_room(folder, sets)
            for data in sets:
                measure_data_set(folder, data, contenders, report)
    except SqlError as error:
        fail(str(error))
    if report["runs"]:
        say(f"all figures: {OUT}")


if __name__ == "__main__":
    main()
