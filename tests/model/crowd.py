"""Starts many agents at one moment: real processes that run the command line, as pods of one pipeline would.

    python crowd.py LIST SECONDS SEED

LIST is a JSON file: one object for each agent with its `words`, the file for its output, and whether it is to be killed
at a random moment of the SECONDS that follow the start. Prints a JSON list of exit codes, minus the signal for a kill.
Each process is a fork of this one, so that they race for the target and not for the start of an interpreter.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from typing import Any

from agent.cli.main import run


def main() -> None:
    with open(sys.argv[1]) as file:
        agents = json.load(file)
    seconds, chance = float(sys.argv[2]), random.Random(int(sys.argv[3]))
    gate, opened = os.pipe()
    running = {_start(each, gate, opened): number for number, each in enumerate(agents)}
    os.close(gate)
    victims = sorted((chance.uniform(0, seconds), pid) for pid, number in running.items() if agents[number]["dies"])
    began = time.monotonic()
    os.close(opened)
    codes: dict[int, int] = {}
    while len(codes) < len(agents):
        while victims and time.monotonic() - began >= victims[0][0]:
            _, pid = victims.pop(0)
            if running[pid] not in codes:  # else it is reaped, and its number may be another's
                os.kill(pid, signal.SIGKILL)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            codes[running[pid]] = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.002)
    json.dump([codes[number] for number in range(len(agents))], sys.stdout)


def _start(each: dict[str, Any], gate: int, opened: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.close(opened)
    out = os.open(each["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.read(gate, 1)  # until the parent opens it for all
    random.seed(os.getpid())
    os._exit(run(each["words"]))


if __name__ == "__main__":
    main()
