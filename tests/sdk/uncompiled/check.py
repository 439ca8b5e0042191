"""Without a compiler: does a generated client have a method for each operation and a type for each schema, under the
document's names, with no property twice and none that may hold anything?

    python3 check.py swift|dart OPENAPI FOLDER-OF-THE-OPERATIONS FOLDER-OF-THE-MODELS
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Language(NamedTuple):
    method: str
    model: str
    variable: str
    anything: str


LANGUAGES = {
    "swift": Language(
        method=r"^    open class func (\w+)\(",
        model=r"^public (?:struct|enum) (\w+)",
        variable=r"^    public var (\w+):",
        anything=r"\b(?:AnyCodable|JSONValue)\b",
    ),
    "dart": Language(
        method=r"^  Future<.*> (\w+)\(",
        model=r"^(?:class|enum) (?!\w+TypeTransformer)(\w+)",
        variable=r"^  \w[\w<>, ]*\?? (\w+);",
        anything=r"^  Future<Object\b|^  Object\?? \w+;",
    ),
}


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def texts(folder: str) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in Path(folder).iterdir()]


language = LANGUAGES[sys.argv[1]]
document = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
apis, models = texts(sys.argv[3]), texts(sys.argv[4])


def declared(pattern: str, sources: list[str]) -> Counter[str]:
    return Counter(name for source in sources for name in re.findall(pattern, source, re.MULTILINE))


operations = {camel_case(operation["operationId"]) for path in document["paths"].values() for operation in path.values()}
schemas = set(document["components"]["schemas"])
types = set(declared(language.model, models))

complaints = {
    "operations without a method": operations - set(declared(language.method, apis)),
    "schemas without a type of their name": schemas - types,
    "types that the document does not know": types - schemas,
    "properties that a type has twice": {
        name for model in models for name, times in declared(language.variable, [model]).items() if times > 1
    },
    "places that may hold anything": set(declared(language.anything, apis + models)),
}
if any(complaints.values()):
    sys.exit("\n".join(f"{complaint}: {', '.join(sorted(names))}" for complaint, names in complaints.items() if names))
print(f"{len(operations)} operations and {len(schemas)} types are there under the document's names")
