"""The command line: one module per command, one output sink, no logic.

    app        what every command shares: the global options, and `Run`, the way to store and model
    output     the one sink: for people, as JSON, or bare ids
    lines      batch input, line by line, with an error record for each bad line
    main       the table of commands; signals and errors become exit codes

A command is a plain function of a `Run` and its own options; what it returns is the exit code, None for 0.
"""
