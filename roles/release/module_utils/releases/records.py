"""Which sites the bundle has set up on this host."""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.releases import layout
from ansible.module_utils.releases.layout import Layout


def recorded(name: str) -> dict:
    """What the host's record says of a site; empty if the bundle has none."""
    try:
        return json.loads((layout.REGISTRY / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def recorded_fronts() -> dict[str, dict]:
    """Every site of which this host has nginx alone, by name, with where its servers are."""
    records = {path.stem: recorded(path.stem) for path in sorted(layout.REGISTRY.glob("*.json"))}
    return {name: record["front"] for name, record in records.items() if record.get("front")}


def recorded_sites() -> list[Layout]:
    """Every site whose server the bundle set up on this host."""
    names = sorted(path.stem for path in layout.REGISTRY.glob("*.json"))
    records = (recorded(name) for name in names)
    return [Layout(record["name"], Path(record["root"])) for record in records if record.get("root")]
