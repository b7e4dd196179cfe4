"""Sleep: the eight steps that take facts from edits into the adapter, as one resumable pipeline."""
