"""Consolidation: a LoRA adapter that carries facts alone."""
