"""Validates SARIF reports against the schema that OASIS publishes, as an npm package carries it.

Run by a test, where the packages from npm and PyPI that `tests/tools` lists are there:

    python3 tests/scan/sarif.py SCHEMA REPORT...

Exits with 1 if a report is not valid.
"""

import json
import sys

import jsonschema

schema_file, *reports = sys.argv[1:]
with open(schema_file, encoding="utf-8") as file:
    validator = jsonschema.Draft7Validator(json.load(file), format_checker=jsonschema.FormatChecker())
failed = False
for report in reports:
    with open(report, encoding="utf-8") as file:
        log = json.load(file)
    errors = list(validator.iter_errors(log))
    print(f"{report}: {len(log['runs'][0]['results'])} results, {len(errors)} errors")
    for error in errors[:10]:
        print("  ", list(error.path), error.message[:200])
    failed |= bool(errors)
sys.exit(failed)
