"""Benchmarks of unMORE."""
