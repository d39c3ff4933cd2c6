"""Benchmarks of SceneDINO."""
