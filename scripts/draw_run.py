#!/usr/bin/env python3
"""Draws a signal of the running sandbox, its level, and leverd's changes, as an SVG on stdout.

    ./scripts/draw_run.py [--signal wal_rate] [--minutes 8] > docs/run.svg

Everything in it is read: samples from the sandbox's Prometheus, the level from `leverd status --json`, the changes from
`leverd history ID --json`. Only Python's standard library is used.
"""

import argparse
import datetime
import json
import re
import subprocess
import time
import urllib.parse
import urllib.request

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 320, 80, 20, 46, 40


def leverd(*arguments):
    """What a command prints as JSON; its exit code may say that a level is broken."""
    done = subprocess.run(["target/debug/leverd", *arguments, "--json"], capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def samples(url, query, begin, end):
    parameters = urllib.parse.urlencode({"query": query, "start": begin, "end": end, "step": 2})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{parameters}", timeout=10) as answer:
        series = json.load(answer)["data"]["result"]
    return [(at, float(value)) for at, value in series[0]["values"]] if series else []


def changes():
    for row in leverd("history"):
        trial = leverd("history", str(row["id"]))["trial"]
        if trial["applied_at"]:
            label = f'{row["parameter"]} {row["from"]} → {row["to"]}: {row["verdict"]}'
            yield seconds(trial["applied_at"]), label


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signal", default="wal_rate")
    parser.add_argument("--query", default="max(rate(pg_wal_lsn_bytes_total[10s])) / 1048576")
    parser.add_argument("--scale", type=float, default=1 / 1048576, help="from the level's unit to the query's")
    parser.add_argument("--unit", default="MB/s")
    parser.add_argument("--minutes", type=float, default=8)
    asked = parser.parse_args()

    with open(".leverd/sandbox/leverd.yaml", encoding="utf-8") as config:
        url = re.search(r'url: "([^"]+)"', config.read()).group(1)
    end = time.time()
    begin = end - asked.minutes * 60
    points = samples(url, asked.query, begin, end)
    begin = points[0][0]
    finding = next(row for row in leverd("status")["findings"] if row["signal"] == asked.signal)
    level = finding["limit"] * asked.scale
    top = max(max(value for _, value in points), level) * 1.15

    def x(at):
        return LEFT + (at - begin) / (end - begin) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#222">{asked.signal} ({asked.unit}), its level, and what leverd '
        "changed</text>",
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = top * share / 1.15
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e5e5e5"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.1f}</text>')
    for minute in range(int((end - begin) / 60) + 1):
        at = begin + minute * 60
        out.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 14}" text-anchor="middle" fill="#555">{minute} min</text>')
    out.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#c0392b" '
        'stroke-dasharray="6 4"/>'
    )
    out.append(f'<text x="{WIDTH - RIGHT}" y="{y(level) - 6:.1f}" text-anchor="end" fill="#c0392b">level</text>')
    out.append(f'<polyline points="{line}" fill="none" stroke="#2458a6" stroke-width="1.6"/>')
    for number, (at, label) in enumerate(sorted(changes())):
        if at >= begin:
            out.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#1e8449"/>')
            out.append(f'<text x="{x(at) + 6:.1f}" y="{TOP + 12 + 16 * number}" fill="#1e8449">{label}</text>')
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
