"""Writes what is installed beside this interpreter as a CycloneDX 1.5 document: `python3 -I sbom.py FILE`."""

from __future__ import annotations

import json
import platform
import re
import sys
from importlib.metadata import Distribution, distributions
from typing import Any

ROOT = "instep"


def main(path: str) -> None:
    """Write the document; equal installations give equal bytes."""
    found = {_name(distribution.metadata["Name"]): distribution for distribution in distributions()}
    components = {name: _component(name, distribution) for name, distribution in sorted(found.items())}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {**components.pop(ROOT), "type": "application"},
            "properties": [{"name": "python", "value": platform.python_version()}],
        },
        "components": list(components.values()),
        "dependencies": [
            {"ref": _purl(name, distribution), "dependsOn": _needs(distribution, found)}
            for name, distribution in sorted(found.items())
        ],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)


def _name(spelled: str) -> str:
    return re.sub(r"[-_.]+", "-", spelled).lower()


def _purl(name: str, distribution: Distribution) -> str:
    return f"pkg:pypi/{name}@{distribution.version}"


def _component(name: str, distribution: Distribution) -> dict[str, Any]:
    purl = _purl(name, distribution)
    about = {"type": "library", "bom-ref": purl, "name": name, "version": distribution.version, "purl": purl}
    licences = _licences(distribution)
    return {**about, "licenses": licences} if licences else about


def _licences(distribution: Distribution) -> list[dict[str, Any]]:
    """An expression where the metadata has one (PEP 639), else the names that are there; texts are not names."""
    said = {key: distribution.metadata.get_all(key, []) for key in ("License-Expression", "Classifier", "License")}
    if said["License-Expression"]:
        return [{"expression": said["License-Expression"][0]}]
    names = [line.rpartition(" :: ")[2] for line in said["Classifier"] if line.startswith("License :: ")]
    return [{"license": {"name": name}} for name in names or said["License"] if name and "\n" not in name]


def _needs(distribution: Distribution, found: dict[str, Distribution]) -> list[str]:
    """What is installed of what it asks for; of the extras, those that the image has."""
    left_out = 'extra == "dev"' if _name(distribution.metadata["Name"]) == ROOT else "extra =="
    asked = [line for line in distribution.requires or [] if left_out not in line]
    names = {_name(match[0]) for line in asked if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    return sorted(_purl(name, found[name]) for name in names if name in found)


if __name__ == "__main__":
    main(sys.argv[1])
