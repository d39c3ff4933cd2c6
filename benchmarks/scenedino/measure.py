"""Measure one row in this process: called by ``benchmarks.scenedino``."""

from benchmarks.cups.measure import main
from benchmarks.scenedino.rows import ROWS

if __name__ == "__main__":
    main(ROWS)
