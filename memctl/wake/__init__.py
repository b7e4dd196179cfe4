"""While the model is awake: what it is told, how that is written, and how it answers."""
