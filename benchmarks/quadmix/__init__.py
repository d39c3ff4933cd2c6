"""Benchmarks of QuadMix."""
