"""Measure one row in this process: called by ``benchmarks.quadmix``."""

from benchmarks.cups.measure import main
from benchmarks.quadmix.rows import ROWS

if __name__ == "__main__":
    main(ROWS)
