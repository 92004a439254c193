"""Prints where a SARIF log violates OASIS's schema, and what sarif-tools counts in it.

    read_sarif.py SCHEMA LOG
"""
import json
import sys

from jsonschema import Draft7Validator
from sarif.loader import load_sarif_file

with open(sys.argv[1]) as schema, open(sys.argv[2]) as log:
    validator = Draft7Validator(json.load(schema))
    wrong = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(json.load(log))]
report = load_sarif_file(sys.argv[2])
# Viewers would not show a record without a location.
placed = [record for record in report.get_records() if record["Location"] and record["Line"]]
counts = report.get_report().get_issue_count_for_severity
print(json.dumps({
    "wrong": wrong,
    "tools": report.get_distinct_tool_names(),
    "errors": counts("error"),
    "warnings": counts("warning"),
    "placed": len(placed),
}))
