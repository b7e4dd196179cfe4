"""From edits to an adapter: how facts move over, and by which gates."""
