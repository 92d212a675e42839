"""What encoding waits for once in a process can be had before."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import json
from dicom_node.results.tables import load_tables
read, loads = [], json.loads
def count(*arguments, **keywords):
    read.append(1)
    return loads(*arguments, **keywords)
json.loads = count
load_tables()
assert read, "nothing was read beforehand"
def refuse(*arguments, **keywords):
    raise AssertionError("a table was read again")
json.loads = refuse
load_tables()
print("nothing was read")
"""


def test_tables_are_read_once_and_then_no_more():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == "nothing was read", ran.stderr
