"""All rows by name, in the order of the table."""

from __future__ import annotations

from benchmarks.cups.label_rows import LABEL_ROWS
from benchmarks.cups.network_rows import NETWORK_ROWS

ROWS = {row.name: row for row in (*LABEL_ROWS, *NETWORK_ROWS)}
