"""Time and peak memory of every costly step of QuadMix on one thread, beside what the original takes.

    python -m benchmarks.quadmix [--rows NAME ...] [--device cuda] [--json OUT]

Needs neither data nor weights. Seconds, memory and "original" mean what they mean in ``benchmarks.cups``. Rows ending in
"-apart" do the same as the row before them without what is saved there: compare the two.
"""

from benchmarks.cups.__main__ import main
from benchmarks.quadmix.rows import ROWS

if __name__ == "__main__":
    main(ROWS, "benchmarks.quadmix", __doc__)
