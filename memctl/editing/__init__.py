"""Cues, keys, values, solve, deltas: the mathematics of a wake edit."""
