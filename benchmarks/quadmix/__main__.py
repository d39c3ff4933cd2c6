"""Time and peak memory of every costly step of QuadMix on one thread, beside what the original takes.

    python -m benchmarks.quadmix [--rows NAME ...] [--device cuda] [--json OUT]

Needs neither data nor weights. Seconds, memory and "original" mean what they mean in ``benchmarks.cups``. Rows ending in
"-apart" do the same as the row before them without what is saved there: compare the two. Rows "beside" something measure a
plain twin of the original's way, too, in the same process; their seconds are those of both together, and the ratio is
in brackets. Those of a whole step name what its parts take. "step-b5-full" (20 GB) is measured only if asked for.
"""

from benchmarks.cups.__main__ import main
from benchmarks.quadmix.rows import ROWS

if __name__ == "__main__":
    main(ROWS, "benchmarks.quadmix", __doc__)
