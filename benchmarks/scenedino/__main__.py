"""Time and peak memory of SceneDINO's inference on one thread, beside what the original takes.

    python -m benchmarks.scenedino [--rows NAME ...] [--device cuda] [--json OUT]

Needs neither data nor weights. Seconds, memory and "original" mean what they mean in ``benchmarks.cups``. Rows named
``*-plain`` are the twins that the short cuts are tested against.
"""

from benchmarks.cups.__main__ import main
from benchmarks.scenedino.rows import ROWS

if __name__ == "__main__":
    main(ROWS, "benchmarks.scenedino", __doc__)
