"""Loads each dashboard with Grafana's foundation SDK and writes it back: a key that it does not know, a typo, is lost.

    python round_trip.py dashboards/*.json

Prints what was lost, and exits with 1 if anything was that is not a gap of the SDK itself.
"""

import json
import re
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# What Grafana reads and the SDK (10.1) has no field for.
GAPS = [
    r"\.templating\.list\[\d+\]\.definition",  # what the editor of a variable shows
    r"\.annotations\.list\[\d+\]\.builtIn",  # the annotations of Grafana itself
    r"\.annotations\.list\[\d+\]\.target\..+",  # a query: here the SDK knows only the fields of Grafana's own source
]


def lost(before, after, path=""):
    """Paths of what is in `before` and not the same in `after`."""
    if isinstance(before, dict):
        for key, value in before.items():
            if not isinstance(after, dict) or key not in after:
                yield f"{path}.{key}"
            else:
                yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            yield path
        else:
            for index, pair in enumerate(zip(before, after)):
                yield from lost(*pair, f"{path}[{index}]")
    elif before != after:
        yield path


plugins.register_default_plugins()
failed = False
for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as opened:
        dashboard = json.load(opened)
    written = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
    missing = [path for path in lost(dashboard, written) if not any(re.fullmatch(gap, path) for gap in GAPS)]
    print(f"{file}: {len(dashboard['panels'])} panels, {len(missing)} keys lost")
    for path in missing:
        print("  ", path)
    failed |= bool(missing)
sys.exit(failed)
