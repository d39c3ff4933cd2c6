"""Running things: training, sharded labelling, run folders, atomic files, progress.

Training is in :mod:`nolabel.engine.fit`, which is not imported here: Lightning Fabric takes seconds to import,
and labelling's worker processes do not need it.
"""

from __future__ import annotations

from nolabel.engine.labelling import (
    Estimate,
    ItemResult,
    LabellingSummary,
    LabellingTask,
    estimate,
    label_items,
    read_records,
)
from nolabel.engine.progress import Progress
from nolabel.engine.run_folder import RunFolder
from nolabel.engine.seeding import generator_of, seed_of
from nolabel.structures.files import (
    DiskFullError,
    atomic_path,
    encode_json,
    encode_png,
    write_json,
    write_png,
)

__all__ = [
    "DiskFullError",
    "Estimate",
    "ItemResult",
    "LabellingSummary",
    "LabellingTask",
    "Progress",
    "RunFolder",
    "atomic_path",
    "encode_json",
    "encode_png",
    "estimate",
    "generator_of",
    "label_items",
    "read_records",
    "seed_of",
    "write_json",
    "write_png",
]
