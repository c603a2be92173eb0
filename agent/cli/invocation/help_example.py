"""Command lines in a help text."""

from __future__ import annotations


def example(*lines: str) -> str:
    r"""Return an epilog with one command line, which may go on over several lines that end in `\`.

    Click breaks paragraphs where they are full, except those that begin with `\b`: a command line must stay as it is,
    so that it can be copied.
    """
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
