"""The command line: `tuneyard …`. It speaks to the gateway through the SDK alone."""
