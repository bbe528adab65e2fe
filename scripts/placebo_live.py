#!/usr/bin/env python3
"""Whole trials whose change is no change, by the real program on a real sandbox: none may be kept, none called harm.

    scripts/placebo_live.py --trials 8 [--scenario healthy] [--cycle 30] [--sandboxes 4]

A sandbox comes up that is not mis-set. Its latency's level is set below what it has, so that leverd wants to act, and the only
lever is one that cannot matter to the load: geqo_threshold, up and up again. Several sandboxes share the trials, side by side,
and are each other's noise. Prints each trial and the counts with their exact interval; exits with 1 where one was kept or called
harm.
"""

import argparse
import concurrent.futures
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

LEVERD = str(pathlib.Path("target/debug/leverd").resolve())
LEVERS = """levers:
  low_cost:
    - name: "geqo_threshold"
      description: "From how many tables on a join is planned by chance; the load joins none"
      target_symptom: "high_p95_latency"
      config_file: "monitoring/postgresql.conf"
      parameter: "geqo_threshold"
      default_value: "12"
      recommended_values: [{values}]
      # Always true: what nothing speaks for is tried three times at most.
      evidence: [{{fact: cache_hit_ratio, above: 0}}]
symptom_mappings:
{mappings}
"""
SYMPTOMS = ["high_wal_rate", "high_io_wait", "high_p95_latency", "high_cpu_temperature"]


def interval(count: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson at 95 %, by halving."""

    def cumulative(k: int, p: float) -> float:
        return sum(math.comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(k + 1))

    def root(holds) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return high

    low = 0.0 if count == 0 else root(lambda p: 1 - cumulative(count - 1, p) < 0.025)
    high = 1.0 if count == trials else root(lambda p: cumulative(count, p) > 0.025)
    return low, high


def leverd(folder: str, *arguments: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run([LEVERD, *arguments], cwd=folder, text=True, check=False, **how)


def configured(config: pathlib.Path, cycle: int, trials: int) -> pathlib.Path:
    text = config.read_text()
    levers = config.with_name("placebo-levers.yaml")
    values = ", ".join(f'"{13 + step}"' for step in range(trials))
    mappings = "\n".join(f'  {symptom}: ["geqo_threshold"]' for symptom in SYMPTOMS)
    levers.write_text(LEVERS.format(values=values, mappings=mappings))
    for key, value in {
        "load_cycle": f"{cycle}s",
        "settle": "5s",
        # The same lever may be tried again at once.
        "cool_down": "1s",
        "levers": str(levers),
    }.items():
        text = re.sub(rf"(?m)^(\s*){key}: .*$", rf"\g<1>{key}: {value}", text)
    # Below any latency that there is.
    text = re.sub(r'(?m)^  p95_write_latency: "<.*$', '  p95_write_latency: "<= 0.01"', text)
    ours = config.with_name("placebo.yaml")
    ours.write_text(text)
    return ours


def trials_in(folder: str, scenario: str, cycle: int, trials: int) -> list[dict]:
    """The trials of one sandbox, which lives in `folder`, oldest first."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        if leverd(folder, "sandbox", "up", "--healthy", "--scenario", scenario, "--no-tty", **quiet).returncode != 0:
            sys.exit("a sandbox did not come up")
        status = json.loads(leverd(folder, "sandbox", "status", "--json", capture_output=True).stdout)
        config = str(configured(pathlib.Path(folder, status["config"]), cycle, trials))
        leverd(folder, "baseline", "--config", config, "--for", "30s", "--no-tty", **quiet)
        leverd(folder, "tune", "--config", config, "--cycles", str(trials), "--no-tty", **quiet)
        history = leverd(folder, "history", "--config", config, "--json", capture_output=True)
        return json.loads(history.stdout)[::-1]
    finally:
        leverd(folder, "sandbox", "down", **quiet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--scenario", default="healthy")
    parser.add_argument("--cycle", type=int, default=30, help="seconds of a load cycle")
    parser.add_argument("--sandboxes", type=int, default=1, help="so many at once")
    given = parser.parse_args()
    each = math.ceil(given.trials / given.sandboxes)
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(given.sandboxes) as pool:
        # The unprivileged user that servers run as works in them.
        pathlib.Path(scratch).chmod(0o755)
        folders = [pathlib.Path(scratch, str(number)) for number in range(given.sandboxes)]
        for folder in folders:
            folder.mkdir(mode=0o755)
        running = [pool.submit(trials_in, str(folder), given.scenario, given.cycle, each) for folder in folders]
        trials = [trial for done in running for trial in done.result()]
    for trial in trials:
        print(f"{trial['state']:<9} {trial['verdict'] or '-':<10} {trial['ending']}")
    kept = sum(trial["state"] == "kept" for trial in trials)
    harm = sum(trial["verdict"] == "reverted" for trial in trials)
    for name, count in (("kept", kept), ("called harm, or put back at once", harm)):
        low, high = interval(count, len(trials))
        print(f"{name}: {count} of {len(trials)}, 95 % interval {100 * low:.1f} … {100 * high:.1f} %")
    if len(trials) < given.trials:
        sys.exit(f"only {len(trials)} of {given.trials} trials were made")
    sys.exit(1 if kept or harm else 0)


main()
