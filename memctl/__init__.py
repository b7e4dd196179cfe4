"""A memory for local language models that lives in their weights, with a history that can be trusted."""

__version__ = "0.1.0"
