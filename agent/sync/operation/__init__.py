"""The directory and target of a command, its options, and its report."""
