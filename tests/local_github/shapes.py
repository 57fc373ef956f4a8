"""GitHub's answers as its OpenAPI description shapes them: made from it, and checked against it.

`openapi.json` holds the schemas of the answers that are used, as it says itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

DESCRIPTION: dict[str, Any] = json.loads(
    (Path(__file__).parent / "openapi.json").read_text(encoding="utf-8")
)
EXAMPLES: dict[str, dict[str, Any]] = DESCRIPTION["examples"]
EMPTY: dict[str, Any] = {
    "string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "null": None,
}  # fmt: skip


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/schemas/{name}", "schemas": DESCRIPTION["schemas"]})


def check(name: str, answer: Any) -> None:
    """Raises jsonschema.ValidationError where an answer is not of the schema."""
    _validator(name).validate(answer)


def shaped(schema: str, /, **values: Any) -> dict[str, Any]:
    """An answer with every key that its schema requires, empty but for `values`."""
    made: dict[str, Any] = _empty(DESCRIPTION["schemas"][schema])
    return {**made, **values}


def _empty(schema: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _empty(DESCRIPTION["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    kinds = schema.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if "null" in kinds or {"type": "null"} in choices:
        return None
    if "enum" in schema:
        return schema["enum"][0]
    if "allOf" in schema or choices:
        parts = [_empty(part) for part in schema.get("allOf", ()) or choices[:1]]
        merged: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, dict):
                return part
            merged |= part
        return merged
    if kinds[0] != "object":
        return EMPTY[kinds[0]]
    return {name: _empty(part) for name, part in schema.get("properties", {}).items()}
