"""Measure one row in this process: called by ``benchmarks.unmore``."""

from benchmarks.cups.measure import main
from benchmarks.unmore.rows import ROWS

if __name__ == "__main__":
    main(ROWS)
