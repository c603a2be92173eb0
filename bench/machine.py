"""What the page says of the machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_TOOLS = ("tar --version", "zstd --version", "umoci --version", "skopeo --version", "restic version")


def describe(registry: str) -> str:
    """Return processor, memory, and the versions of all that is measured; `registry` is the registry's command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GiB, "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}, "
        + ", ".join(_versions([*_TOOLS, f"{registry} --version"]))
    )


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _versions(commands: list[str]) -> Iterator[str]:
    for words in map(str.split, commands):
        if shutil.which(words[0]):
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            if version := re.search(r"\d+(\.\d+)+", said):
                yield f"{words[0]} {version[0]}"
