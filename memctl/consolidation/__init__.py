"""Consolidation: a LoRA adapter that carries facts alone, and the stages by which they go over to it."""
