"""Time and peak memory of every costly step of CUPS on one thread, beside what the original takes.

    python -m benchmarks.cups [--rows NAME ...] [--device cuda] [--json OUT]

Needs neither data nor weights: scenes come from the procedural world, networks have their official sizes and random
weights. Every row runs in a process of its own. Seconds are CPU seconds of the fastest repetition (wall seconds
on a GPU), so a busy machine changes them little; compare ratios, not seconds, between machines. The memory is the
peak of the whole process: interpreter, libraries, weights and inputs included (on a GPU that of its tensors).
"original" was measured on another 2-core machine, one thread, good to 30 %; "~" marks figures worked out from
smaller sizes. The package must be installed, or ``PYTHONPATH=src`` set.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.cups.row import Row
from benchmarks.cups.rows import ROWS
from benchmarks.cups.scene import scene_file

REPOSITORY = Path(__file__).resolve().parents[2]


def machine(device: str, threads: int) -> str:
    """Return one line about what the figures were measured on."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [
            x.split(":", 1)[1].strip() for x in information.read_text().splitlines() if "model name" in x
        ]
        model = names[0] if names else model
    parts = [f"{model}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"]
    if device != "cpu":
        parts.append(torch.cuda.get_device_name(device))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return "; ".join([*parts, f"torch {torch.__version__}, Python {platform.python_version()}{load}"])


def run_python(arguments: list[str], threads: int) -> str:
    """Run a module of this package on so many threads and return what it printed."""
    environment = dict(os.environ)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[variable] = str(threads)
    result = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {result.returncode}, see above")
    return result.stdout


def measure(row: Row, options: argparse.Namespace, scenes: Path, package: str) -> dict[str, Any]:
    """Run one row in a fresh process and return its line of the table."""
    if row.scene and not scene_file(scenes, row.scene).is_file():
        run_python(["benchmarks.cups.scene", *map(str, row.scene), str(scenes)], options.threads)
    device = options.device if row.accelerated else "cpu"
    settings = {
        "--device": device,
        "--threads": options.threads,
        "--repeat": options.repeat,
        "--seconds": options.seconds,
        "--scenes": scenes,
    }
    flags = [str(part) for pair in settings.items() for part in pair]
    printed = run_python([f"{package}.measure", row.name, *flags], options.threads)
    result = json.loads(printed.strip().splitlines()[-1])
    best = min(result["seconds"])
    return {
        "row": row.name,
        "title": row.title,
        "device": device,
        "best_seconds": best,
        "original_seconds": row.original,
        "original_extrapolated": row.extrapolated,
        "times_faster": row.original / best if row.original else None,
        **result,
    }


def line(record: dict[str, Any]) -> str:
    """Return one line of the table."""
    original = record["original_seconds"]
    mark = "~" if record["original_extrapolated"] else ""
    known = f"{mark}{original:.4g}" if original else "-"
    ratio = f"{record['times_faster']:.1f}x" if original else "-"
    return (
        f"{record['row']:20}{record['best_seconds']:9.3f}{len(record['seconds']):4d}{known:>9}{ratio:>8}"
        f"{record['peak_bytes'] / 1e9:8.2f}  {record['title']}"
        + (f" [{record['note']}]" if record["note"] else "")
        + (f" ({record['device']})" if record["device"] != "cpu" else "")
    )


def main(
    rows: Mapping[str, Row] = ROWS, package: str = "benchmarks.cups", about_it: str | None = __doc__
) -> None:
    """Print the table of a package of benchmarks, whose ``measure`` module measures one of its rows."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}",
        description=about_it,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", nargs="+", choices=rows, metavar="NAME", help=f"of {', '.join(rows)}")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for rows that can use it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5, help="most repetitions of a row; the best counts")
    parser.add_argument("--seconds", type=float, default=20, help="no further repetition beyond so many")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures here, too")
    options = parser.parse_args()
    about = machine(options.device, options.threads)
    print(about)
    print(f"{'row':20}{'seconds':>9}{'n':>4}{'original':>9}{'ratio':>8}{'peak GB':>8}  what")
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.rows or [name for name, row in rows.items() if not row.large]:
            records.append(measure(rows[name], options, Path(folder), package))
            print(line(records[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
