"""The memory directory: content-addressed objects, snapshots, an atomic HEAD.

    atomic      the one module that writes, and names what went wrong
    records     what is stored: ledger, deltas, snapshots, and their hashes
    layout      where everything lies, and the checked reads
    lock        one writer at a time
    store       `Store`: open, create, read;  writer: commit, rollback, tag
    revisions   `HEAD~2`, `@{2d}`, tags, id prefixes
    collect     retention and garbage collection
    diff        what changed between two snapshots
    journal     append-only records that wait to be worked on
    verify      finds damage, and names it

Write order: objects, snapshot, HEAD, ledger.json. Until HEAD is replaced nothing has happened; from then on
everything has.
"""
