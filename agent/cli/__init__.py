"""The command line: one file per command, each parses, calls and renders.

Belongs here: words, options, wiring, presentation, signals, and the one place where errors end (`main`). Never belongs
here: a decision about a workspace. A command's module is imported when the command is used, and what it calls when it
runs, so that `agent --version` and shell completion answer at once.
"""
