"""Benchmarks of Co-Training."""
