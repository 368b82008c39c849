"""Baselines, benchmarks and reproductions: thin users of the public API."""
