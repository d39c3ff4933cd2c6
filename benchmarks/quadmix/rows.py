"""All rows by name, in the order of the table."""

from __future__ import annotations

from benchmarks.quadmix import mixing_rows, reading_rows, step_rows
from benchmarks.quadmix.network_rows import NETWORK_ROWS

ROWS = {row.name: row for row in (*NETWORK_ROWS, *mixing_rows.ROWS, *reading_rows.ROWS, *step_rows.ROWS)}
