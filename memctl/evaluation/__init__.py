"""What is measured: recall, locality, drift. Greedy decoding everywhere, so that a measurement can be repeated."""
