"""Texts and names that ship with the package, written for it."""
