"""The command line: one module for each command. It parses arguments, calls `agent.sync`, and prints the result.

Belongs here: arguments, options, output, signals, and the one place where errors end (`main`). Never belongs here: a
decision about a workspace. The module of a command is imported when the command is used. It imports the code that does
the work when it runs, so that `agent --version` and shell completion respond at once.
"""
