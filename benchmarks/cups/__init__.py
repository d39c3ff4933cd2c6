"""Time and peak memory of every costly step of CUPS, beside what the original takes (``python -m benchmarks.cups``)."""
