"""Does a reader of YAML 1.1 take the document for what it is in JSON: no time for a date, no status for a number?

usage: yaml_1_1.py YAML JSON
"""

import json
import sys

import yaml

with open(sys.argv[1], encoding="utf-8") as yaml_file, open(sys.argv[2], encoding="utf-8") as json_file:
    read, expected = yaml.safe_load(yaml_file), json.load(json_file)
if read != expected:
    sys.exit(f"{sys.argv[1]} is not {sys.argv[2]}")
