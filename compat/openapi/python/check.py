"""Validates the document against the schema of OpenAPI, and examples and real answers against the document.

usage: check.py URL, of a server on which the trials have run.
"""

import json
import sys
import urllib.error
import urllib.request
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

URL = sys.argv[1]


def get(path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(URL + path) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


DOCUMENT = get("/openapi.json")[1]
SHAPES = DOCUMENT["components"]["schemas"]


def strict(shape: Any) -> Any:
    """The same schema, which also rejects fields that it does not name."""
    if isinstance(shape, list):
        return [strict(part) for part in shape]
    if not isinstance(shape, dict):
        return shape
    closed = {name: strict(part) for name, part in shape.items()}
    return closed | {"additionalProperties": False} if isinstance(shape.get("properties"), dict) else closed


COMPONENTS = strict(DOCUMENT["components"])


def fits(value: Any, schema: Any) -> None:
    Draft202012Validator({**schema, "components": COMPONENTS}).validate(value)


def check_examples() -> None:
    count = 0
    for name, shape in SHAPES.items():
        for example in shape.get("examples", []):
            fits(example, {"$ref": f"#/components/schemas/{name}"})
            count += 1
    assert count >= 10, f"{count} examples are too few"
    amount = Draft202012Validator(SHAPES["Amount"])
    for text, is_amount in (("1050", True), (str(2**128 - 1), True), ("-1", False), ("1.5", False), ("", False)):
        assert amount.is_valid(text) == is_amount, text


def check_answers() -> None:
    transfer = get("/v1/transfers?limit=1")[1]["items"][0]["id"]
    asked = {
        "/v1/accounts": "?limit=2",
        "/v1/accounts/{account}": "",
        "/v1/accounts/{account}/transfers": "?limit=2",
        "/v1/accounts/{account}/history": "",
        "/v1/transfers": "",
        "/v1/transfers/{id}": "",
        "/v1/assets": "",
        "/v1/books": "",
        "/v1/ledgers/{ledger}": "",
        "/v1/cluster": "",
        "/v1/events": "?from=start&limit=2",
    }
    for path, query in asked.items():
        responses = DOCUMENT["paths"][path]["get"]["responses"]
        place = path.replace("{account}", "go:bob").replace("{id}", transfer).replace("{ledger}", "978")
        status, answer = get(place + query)
        assert status == 200, f"{path}: {answer}"
        fits(answer, responses["200"]["content"]["application/json"]["schema"])
    for place, expected in (("/v1/accounts/unknown", 404), ("/v1/ledgers/701", 404), ("/v1/accounts?colour=red", 400), ("/v1/events?from=e1AQGJJ8IW", 400), ("/v1/events?from=1", 400)):
        status, answer = get(place)
        assert status == expected, f"{place}: {answer}"
        fits(answer, {"$ref": "#/components/schemas/Problem"})
    status, answer = get("/v1/events?from=e1AQGJJ8IW")
    assert answer["code"] == "position_after_end" and answer["end"].startswith("e1"), answer


validate(DOCUMENT)
check_examples()
check_answers()
