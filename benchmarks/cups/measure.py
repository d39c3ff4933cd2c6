"""Measure one row in this process: ``python -m benchmarks.cups.measure ROW ...``, called by ``benchmarks.cups``.

A process of its own gives every row its own peak memory, and no row finds the caches of another one warm.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.cups.rows import ROWS


def clock(device: str) -> float:
    """Return CPU seconds of this process, which other jobs on the machine hardly change; wall seconds on a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_bytes(device: str) -> int:
    """Return the most memory this process has held; that of the GPU's tensors on a GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the process we were forked from, too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def repeat(work: Work, device: str, most: int, budget: float) -> tuple[list[float], Any]:
    """Time the work up to ``most`` times, stopping when ``budget`` seconds are spent; at least once."""
    seconds: list[float] = []
    while len(seconds) < most and (not seconds or sum(seconds) + min(seconds) <= budget):
        start = clock(device)
        result = work()
        seconds.append(clock(device) - start)
    return seconds, result


def measure(row: Row, bench: Bench, most: int, budget: float) -> dict[str, Any]:
    """Return seconds of all repetitions, peak bytes (inputs, weights and libraries included) and the note."""
    with torch.inference_mode(mode=False):
        seconds, result = repeat(row.prepare(bench), bench.device, most, budget)
    note = row.note(result) if row.note else ""
    return {"seconds": seconds, "peak_bytes": peak_bytes(bench.device), "note": note}


def main(rows: Mapping[str, Row] = ROWS) -> None:
    """Print the measurement of one of the rows as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=rows)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--scenes", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = Bench(options.device, options.scenes)
    print(json.dumps(measure(rows[options.row], bench, options.repeat, options.seconds)))


if __name__ == "__main__":
    main()
