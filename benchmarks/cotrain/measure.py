"""Measure one row in this process: called by ``benchmarks.cotrain``."""

from benchmarks.cotrain.rows import ROWS
from benchmarks.cups.measure import main

if __name__ == "__main__":
    main(ROWS)
