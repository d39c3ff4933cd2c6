"""Time and peak memory of every costly step of unMORE on one thread, beside what the original takes.

    python -m benchmarks.unmore [--rows NAME ...] [--device cuda] [--json OUT]

Needs neither data nor weights. Seconds, memory and "original" mean what they mean in ``benchmarks.cups``.
"""

from benchmarks.cups.__main__ import main
from benchmarks.unmore.rows import ROWS

if __name__ == "__main__":
    main(ROWS, "benchmarks.unmore", __doc__)
