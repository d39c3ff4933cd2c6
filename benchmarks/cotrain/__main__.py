"""Time and peak memory of every costly step of Co-Training on one thread, beside what the original takes.

    python -m benchmarks.cotrain [--rows NAME ...] [--device cuda] [--json OUT]

Needs neither data nor weights. Seconds, memory and "original" mean what they mean in ``benchmarks.cups``; the memory
of the threshold stage at full scale is measured by ``python -m benchmarks.cotrain.threshold_memory``.
"""

from benchmarks.cotrain.rows import ROWS
from benchmarks.cups.__main__ import main

if __name__ == "__main__":
    main(ROWS, "benchmarks.cotrain", __doc__)
