"""The measuring of bench_adjust.sh: moves the same rows with fixed settings and with adjusted ones, by turns, and says
how they differ.

A run's course is what leverd prints under --json: a JSON object a line with elapsed_s, rows, rows_per_second, writers,
chunk_rows and stage; other lines are passed over.
"""

import contextlib
import datetime
import json
import math
import os
import pathlib
import random
import shutil
import signal
import statistics
import sys
import time
import typing

from bench_common import fail, leverd_binary, with_range
from bench_data import MB, SHORT, DataSet, difference, fill, log_table, size_of, sums_of_source
from bench_process import environment, measure
from bench_servers import Postgres, SqlError, last_words, work_folder, write_config

# Chunks may change at a table's end: there must be some.
TABLES = 8
BYTES = int(os.environ.get("TABLE_MB", "100" if SHORT else "500")) * MB
COARSE = SHORT or os.environ.get("GRID") == "coarse"
WRITERS = (1, 4, 16) if COARSE else (1, 2, 4, 8, 16)
CHUNK_ROWS = (1_000, 75_000, 500_000) if COARSE else (1_000, 10_000, 75_000, 200_000, 500_000)
WORST_STARTS = ((1, 1_000), (16, 500_000))

ROUNDS = int(os.environ.get("ROUNDS", "1" if SHORT else "2"))
PAIRS = int(os.environ.get("PAIRS", "4" if SHORT else "8"))
INTERVAL = os.environ.get("INTERVAL", "2s")
WORKERS = int(os.environ.get("WORKERS", "1"))
READERS = int(os.environ.get("READERS", "2"))
TIMEOUT_S = float(os.environ.get("TIMEOUT", "300" if SHORT else "1800"))
LONGEST_S = float(os.environ.get("LONGEST", "2400" if SHORT else "14400"))
OUT = pathlib.Path(os.environ.get("OUT", ".leverd/bench/adjust.json"))
DRAWS = 10_000
# The order of the grid and the bootstrap's draws are the same each time.
SEED = 1


class Setting(typing.NamedTuple):
    writers: int
    chunk_rows: int
    adjusts: bool = False

    def title(self):
        return f"{self.writers} writers, chunks of {self.chunk_rows}, {'adjusted' if self.adjusts else 'fixed'}"


class Course(typing.NamedTuple):
    """What a run said of itself."""

    # None: it said too little.
    second_half_rows_per_s: typing.Optional[float]
    # Where it ended: writers, rows of a chunk.
    ended_at: typing.Optional[typing.Tuple[int, int]]
    # How often they were others than the line before.
    changes: int


# --- One run -------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, stack, folder, program):
        self.folder, self.program, self.records = folder, program, []
        self.begun = time.monotonic()
        tables = tuple(log_table(f"log_{number}", has_index=False) for number in range(1, TABLES + 1))
        self.data = DataSet("adjust", f"{TABLES} tables of {BYTES // MB} MB", tables, bytes=BYTES)
        say(f"making {self.data.title}")
        self.source = Postgres("source", folder)
        stack.callback(self.source.stop)
        self.target = Postgres("target", folder)
        stack.callback(self.target.stop)
        fill(self.source, self.data)
        self.target.warm_up(2 * self.data.bytes_at_most() / MB)
        self.bytes = size_of(self.source, self.data)
        self.expected = sums_of_source(self.source, self.data)
        self.rows = sum(each.rows for each in self.expected.values())

    def is_late(self):
        return time.monotonic() - self.begun > LONGEST_S

    def run(self, setting, part):
        """The record of a run; it has no figure where `refused` says why."""
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        config, progress, log = folder / "migration.yaml", folder / "progress", folder / "log"
        write_config(config, self.sections(setting))
        self.target.empty()
        self.source.settle()
        self.target.settle()
        os.sync()
        command = [self.program, "migrate", "run", "-c", str(config), "--no-tty", "--json"]
        variables = environment(folder, [self.target.bin])
        usage = measure(command, folder, variables, log, TIMEOUT_S, stdout=progress)
        refused = self.objection(setting, usage, log)
        course = course_of(progress.read_text(encoding="utf-8", errors="replace"))
        record = {
            "part": part,
            **setting._asdict(),
            "refused": refused,
            "rows_per_s": self.rows / usage.wall_s,
            **usage._asdict(),
            **course._asdict(),
        }
        self.records.append(record)
        say(f"{part}: {setting.title()}: " + (f"no figure: {refused}" if refused else f"{usage.wall_s:.1f} s"))
        return record

    def sections(self, setting):
        migration = {
            "workers": WORKERS,
            "write_ahead_writers": setting.writers,
            "chunk_size": setting.chunk_rows,
            "parallel_readers": READERS,
            # Room for what an adjustment may reach.
            "max_source_connections": WORKERS * 4 + 8,
            "max_target_connections": WORKERS * 16 + 8,
            "ai_adjust": setting.adjusts,
            "ai_adjust_interval": INTERVAL,
        }
        ends = {"source": self.source.endpoint(), "target": self.target.endpoint()}
        return {**ends, "migration": migration, "ai": {"provider": "rules"}}

    def objection(self, setting, usage, log):
        if usage.timed_out:
            return f"not done after {TIMEOUT_S:.0f} s"
        if usage.exit_code != 0:
            return f"exit code {usage.exit_code}: {last_words(log.read_text(errors='replace'))}"
        if setting.adjusts:
            return difference(self.target, self.data, self.expected, has_keys=True)
        try:
            counts = " + ".join(f"(SELECT count(*) FROM {table.name})" for table in self.data.tables)
            found = int(self.target.sql(f"SELECT {counts};"))
        except SqlError as error:
            return f"the target cannot be counted: {error}"
        return None if found == self.rows else f"{found} rows instead of {self.rows}"


def course_of(text):
    """The course from the lines of --json."""
    lines = [line for line in map(progress_line, text.splitlines()) if line]
    settings = [(line["writers"], line["chunk_rows"]) for line in lines if "writers" in line and "chunk_rows" in line]
    changes = sum(1 for before, after in zip(settings, settings[1:]) if before != after)
    points = [(float(line["elapsed_s"]), float(line["rows"])) for line in lines]
    return Course(second_half(points), settings[-1] if settings else None, changes)


def progress_line(text):
    """The object of a line that tells of progress; None for any other."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    is_progress = isinstance(line, dict) and all(is_number(line.get(key)) for key in ("elapsed_s", "rows"))
    return line if is_progress else None


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def second_half(points):
    """Rows a second over the second half of the rows: from the moment at which half of them were there to the first at
    which all were, each between two lines as if rows came evenly. What comes after, indexes, does not count."""
    if not points:
        return None
    points = [(0.0, 0.0), *sorted(points)]
    total = max(rows for _, rows in points)
    ended = next(seconds for seconds, rows in points if rows >= total)
    half = None
    for (earlier, fewer), (later, more) in zip(points, points[1:]):
        if fewer < total / 2 <= more:
            half = earlier + (later - earlier) * (total / 2 - fewer) / (more - fewer)
            break
    if half is None or ended <= half:
        return None
    return total / 2 / (ended - half)


# --- The two parts -------------------------------------------------------------------------------------------------


def grid(bench):
    """Every fixed setting, in another order each round; the valid records by setting."""
    settings = [Setting(writers, chunk_rows) for writers in WRITERS for chunk_rows in CHUNK_ROWS]
    found, refused = {}, set()
    order = random.Random(SEED)
    for number in range(ROUNDS):
        order.shuffle(settings)
        for setting in settings:
            if bench.is_late():
                say(f"the grid ends after {LONGEST_S:.0f} s")
                return found
            if setting in refused:
                continue
            record = bench.run(setting, f"grid, round {number + 1} of {ROUNDS}")
            if record["refused"]:
                refused.add(setting)
                found.pop(setting, None)
            else:
                found.setdefault(setting, []).append(record)
    return found


def show_grid(found):
    """Prints it; gives the best setting with its records, or None."""
    print("\nfixed settings, 1000 rows/s of the whole run")
    print(f"{'writers':>8} {'rows of a chunk:':>16}" + "".join(f"{chunk_rows:>20}" for chunk_rows in CHUNK_ROWS))
    for writers in WRITERS:
        cells = []
        for chunk_rows in CHUNK_ROWS:
            values = [record["rows_per_s"] / 1000 for record in found.get(Setting(writers, chunk_rows), [])]
            cells.append(with_range(statistics.median(values), values, 0) if values else "-")
        print(f"{writers:>8} {'':16}" + "".join(f"{each:>20}" for each in cells))
    if not found:
        return None
    best = min(found.items(), key=lambda item: statistics.median(record["wall_s"] for record in item[1]))
    print(f"the best: {best[0].title()}")
    sys.stdout.flush()
    return best


def rounds(bench, best):
    """By start: rounds of three records, fixed, adjusted, and the grid's best again, which would otherwise be compared
    by the luck that made it the best; a round of which one was refused is none."""
    found = {start: [] for start in WORST_STARTS}
    for number in range(PAIRS):
        reference = None
        for start in WORST_STARTS:
            if bench.is_late():
                say(f"the pairs end after {LONGEST_S:.0f} s")
                return found
            arms = [Setting(*start, adjusts=False), Setting(*start, adjusts=True)]
            if number % 2:
                arms.reverse()
            part = f"pair {number + 1} of {PAIRS}"
            records = {arm.adjusts: bench.run(arm, part) for arm in arms}
            reference = reference or bench.run(best, part)
            three = (records[False], records[True], reference)
            if not any(record["refused"] for record in three):
                found[start].append(three)
    return found


def show_rounds(found):
    """Prints them; gives the same for the JSON."""
    print("\nadjusted against fixed, from the same start, and against the best fixed one of the same round;")
    print("a ratio over 1: the adjusted one is faster")
    summary = []
    for start, threes in found.items():
        print(f"\nfrom {start[0]} writers, chunks of {start[1]}: {len(threes)} rounds")
        if not threes:
            continue
        fixed, adjusted, best = zip(*threes)
        line = {"writers": start[0], "chunk_rows": start[1], "rounds": len(threes)}
        for name, others in (("fixed", fixed), ("best", best)):
            whole = [other["wall_s"] / record["wall_s"] for other, record in zip(others, adjusted)]
            line[f"time_against_{name}"] = show_ratios(f"whole time, {name}", whole)
            line[f"second_half_against_{name}"] = show_ratios(f"second half, {name}", halves(others, adjusted))
        show_times("fixed, s", [record["wall_s"] for record in fixed])
        show_times("adjusted, s", [record["wall_s"] for record in adjusted])
        show_times("the best fixed, s", [record["wall_s"] for record in best])
        ends = ["-" if not record["ended_at"] else "{} × {}".format(*record["ended_at"]) for record in adjusted]
        print(f"  ended at writers × rows of a chunk: {', '.join(ends)}")
        print(f"  changes seen: {', '.join(str(record['changes']) for record in adjusted)}")
        summary.append(line)
    sys.stdout.flush()
    return summary


def halves(others, adjusted):
    """Ratios of rows a second over the second half, where both are known."""
    key = "second_half_rows_per_s"
    both = [(other[key], record[key]) for other, record in zip(others, adjusted)]
    return [record / other for other, record in both if other and record]


def show_times(label, values):
    print(f"  {label:22}{with_range(statistics.median(values), values, 1)}")


def show_ratios(label, ratios):
    """The geometric mean with its interval."""
    if not ratios:
        print(f"  {label:22}- (leverd printed too few lines of progress)")
        return None
    mean, low, high = bootstrap(ratios)
    proven = "gain" if low > 1 else "loss" if high < 1 else "not told apart from 1"
    print(f"  {label:22}× {mean:.3f}, 95 % {low:.3f} to {high:.3f}: {proven}")
    return {"ratios": ratios, "mean": mean, "low": low, "high": high}


def bootstrap(ratios):
    """Geometric mean, and the 95 % interval of it over pairs drawn with replacement. Of few pairs it is too narrow."""
    logs = [math.log(ratio) for ratio in ratios]
    chance = random.Random(SEED)
    means = sorted(statistics.fmean(chance.choices(logs, k=len(logs))) for _ in range(DRAWS))
    low, high = means[round(DRAWS * 0.025)], means[round(DRAWS * 0.975) - 1]
    return math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high)


# --- All of it -----------------------------------------------------------------------------------------------------


def say(words):
    print(words, file=sys.stderr, flush=True)


def write_down(report):
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    say(f"all figures: {OUT}")


def enough_room(folder):
    need = 5 * TABLES * BYTES + 3000 * MB
    free = shutil.disk_usage(folder).free
    if free < need:
        fail(f"{need / MB:.0f} MB of disk are needed and {free / MB:.0f} are free: WORK_DIR=FOLDER names another one")


def stop(*_):
    sys.exit(143)


def main():
    program = os.path.abspath(leverd_binary())
    # As an exception: the servers and leverd are then stopped, too.
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
    report = {
        "began": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "short": SHORT,
        "interval": INTERVAL,
        "workers": WORKERS,
        "readers": READERS,
        "processors": os.cpu_count(),
    }
    try:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(work_folder())
            enough_room(folder)
            bench = Bench(stack, folder, program)
            report.update(rows=bench.rows, bytes=bench.bytes, runs=bench.records)
            size = f"{bench.rows} rows, {bench.bytes / MB:.0f} MB"
            print(f"{bench.data.title}: {size}; {WORKERS} workers, {READERS} readers each")
            # However it ends, what was measured is kept.
            stack.callback(write_down, report)
            best = show_grid(grid(bench))
            report["best"] = best[0]._asdict() if best else None
            if best:
                report["rounds"] = show_rounds(rounds(bench, best[0]))
    except SqlError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
