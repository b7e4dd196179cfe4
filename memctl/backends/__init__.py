"""One protocol, several engines, and the one call that every command gets its model from."""
