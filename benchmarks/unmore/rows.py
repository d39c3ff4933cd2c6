"""All rows by name, in the order of the table."""

from __future__ import annotations

from benchmarks.unmore import discovery_rows, mask_rows, network_rows

ROWS = {row.name: row for row in (*mask_rows.ROWS, *network_rows.ROWS, *discovery_rows.ROWS)}
