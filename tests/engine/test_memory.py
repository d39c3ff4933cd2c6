import platform
from pathlib import Path

import pytest

from nolabel.engine.memory import release_free_memory


def resident() -> float:
    """Memory of this process in MB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_pieces_between_used_memory_go_back_to_the_system():
    pieces = [bytearray(b"x" * 100_000) for _ in range(2000)]
    kept = pieces[::100]  # holes between them, so that the heap cannot shrink from its end
    before = resident()
    del pieces
    release_free_memory()
    assert resident() < before - 100
    assert len(kept) == 20
