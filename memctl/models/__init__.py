"""Which base model: where it comes from, what identifies it, and where its MLP layers lie.

Nothing is re-exported here, so that `memctl.models.source` and `memctl.models.fingerprint` load without torch.
"""
