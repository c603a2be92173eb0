"""The example at the end of a command's help."""

from __future__ import annotations


def example(*lines: str) -> str:
    r"""Return an epilog with one command line, which may go on over several lines that end in `\`.

    Click wraps paragraphs, except those that begin with `\b`. A command line must not be wrapped, so that it can be
    copied.
    """
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
