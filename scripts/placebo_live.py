#!/usr/bin/env python3
"""Whole trials whose change is no change, by the real program on a real sandbox: none may be kept, none called harm.

    scripts/placebo_live.py --trials 8 [--scenario healthy] [--cycle 30]

A sandbox comes up that is not mis-set. Its latency's level is set below what it has, so that leverd wants to act, and the only
lever is one that cannot matter to the load: geqo_threshold, up and up again. Prints each trial and the counts with their
exact interval; exits with 1 where one was kept or called harm.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys

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


def leverd(*arguments: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run([LEVERD, *arguments], text=True, check=False, **how)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--scenario", default="healthy")
    parser.add_argument("--cycle", type=int, default=30, help="seconds of a load cycle")
    given = parser.parse_args()
    up = leverd("sandbox", "up", "--healthy", "--scenario", given.scenario, "--no-tty", stdout=subprocess.DEVNULL)
    try:
        if up.returncode != 0:
            sys.exit("the sandbox did not come up")
        status = json.loads(leverd("sandbox", "status", "--json", capture_output=True).stdout)
        config = str(configured(pathlib.Path(status["config"]), given.cycle, given.trials))
        leverd("baseline", "--config", config, "--for", "30s", "--no-tty", stdout=subprocess.DEVNULL)
        leverd("tune", "--config", config, "--cycles", str(given.trials), "--no-tty", stdout=subprocess.DEVNULL)
        history = leverd("history", "--config", config, "--json", capture_output=True)
        trials = json.loads(history.stdout)
    finally:
        leverd("sandbox", "down")
    for trial in reversed(trials):
        print(f"{trial['id']:>3}  {trial['state']:<9} {trial['verdict'] or '-':<10} {trial['ending']}")
    kept = sum(trial["state"] == "kept" for trial in trials)
    harm = sum(trial["verdict"] == "reverted" for trial in trials)
    for name, count in (("kept", kept), ("called harm, or put back at once", harm)):
        low, high = interval(count, len(trials))
        print(f"{name}: {count} of {len(trials)}, 95 % interval {100 * low:.1f} … {100 * high:.1f} %")
    if len(trials) < given.trials:
        sys.exit(f"only {len(trials)} of {given.trials} trials were made")
    sys.exit(1 if kept or harm else 0)


main()
