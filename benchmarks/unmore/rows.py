"""All rows by name, in the order of the table."""

from __future__ import annotations

from benchmarks.unmore import detector_rows, discovery_rows, mask_rows, network_rows

PARTS = (mask_rows, network_rows, discovery_rows, detector_rows)
ROWS = {row.name: row for part in PARTS for row in part.ROWS}
