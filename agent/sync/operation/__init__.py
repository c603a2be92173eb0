"""What a command works on, what it is asked for, and what it reports."""
