"""The API's description: OpenAPI 3.1, made from the route table and the shapes."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from bits import __version__
from bits.web.body import Body
from bits.web.v1.operation import LONGEST, Operation, Table
from bits.web.v1.problem import CONTENT_TYPE, KINDS, Problem, problem

REFERENCE = "#/components/schemas/{name}"
DESCRIPTION = (
    "Everybody may read, from any site. Writing takes a token, which members make at /tokens: "
    "it is sent as Authorization: Bearer bits_…, and may be used so often a minute (api_rate). "
    "Times are ISO 8601 (RFC 3339), answers are in UTC. Errors are problem details (RFC 9457)."
)
HEADERS = {
    "no-token": "WWW-Authenticate",
    "bad-token": "WWW-Authenticate",
    "insufficient-scope": "WWW-Authenticate",
    "too-many": "Retry-After",
}


def kinds(one: Operation) -> list[str]:
    """Return the kinds of problems that an operation may answer with."""
    found = [*one.refusals]
    if one.query:
        found.append("bad-parameter")
    if one.body:
        found += ["bad-body", "too-large", "not-json"]
    if one.scope:
        found += ["no-token", "bad-token", "insufficient-scope", "too-many", "busy"]
    return sorted({*found, "bad-request", "our-fault"}, key=list(KINDS).index)


def _parameters(one: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    if "{seq}" in one.template:
        schema = {"type": "integer", "minimum": 1}
        what = "The seq of the announcement."
        found.append({"name": "seq", "in": "path", "required": True, "schema": schema, "description": what})
    if one.query:
        shape = schemas.pop(one.query.__name__)
        for name, schema in shape["properties"].items():
            schema = dict(schema)
            said = schema.pop("description", "")
            found.append({"name": name, "in": "query", "required": False, "schema": schema, "description": said})
    return found


def _problems(one: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in kinds(one):
        status, title = KINDS[kind]
        response = found.setdefault(
            str(status), {"description": title, "content": {CONTENT_TYPE: {"schema": _ref(Problem), "examples": {}}}}
        )
        example = msgspec.to_builtins(problem(kind, title + "."))
        response["content"][CONTENT_TYPE]["examples"][kind] = {"value": example}
        if kind in HEADERS:
            response["headers"] = {HEADERS[kind]: {"schema": {"type": "string"}}}
    return found


def _ref(shape: Any) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=shape.__name__)}


def _json(shape: Any, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(shape), "example": msgspec.to_builtins(example)}}


def _operation(one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done." if one.answer is None else one.answer.__doc__}
    if one.answer is not None:
        answer["content"] = _json(one.answer, one.example)
    if one.link:
        answer["links"] = {one.link: {"operationId": one.link, "parameters": {"seq": "$response.body#/seq"}}}
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": one.description,
        "parameters": _parameters(one, schemas),
        "responses": {str(one.status): answer},
    }
    if one.method == "GET":
        answer["headers"] = {"ETag": {"schema": {"type": "string"}}}
        told["responses"]["304"] = {"description": "You have it already (If-None-Match)."}
    if one.body:
        told["requestBody"] = {"required": True, "content": _json(one.body, one.given)}
    if one.scope:
        told["security"] = [{"token": [one.scope]}]
    told["responses"] |= _problems(one)
    return told


@cache
def document(table: Table) -> dict[str, Any]:
    """Return the description."""
    used = [shape for one in table.operations for shape in (one.query, one.body, one.answer) if shape]
    _, schemas = msgspec.json.schema_components([Problem, *dict.fromkeys(used)], ref_template=REFERENCE)
    paths: dict[str, Any] = {}
    queries = dict(schemas)
    for one in table.operations:
        paths.setdefault(one.template, {})[one.method.lower()] = _operation(one, dict(queries))
        if one.query:
            schemas.pop(one.query.__name__, None)
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": f"A member's token, made at /tokens. A body may have {LONGEST} bytes.",
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BITS",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": scheme}},
    }


@cache
def body(table: Table) -> Body:
    return Body(msgspec.json.encode(document(table)), "application/json", vary="Accept-Encoding")


# --- as a page shows it


@cache
def sections(table: Table) -> list[dict[str, Any]]:
    """Return the operations."""
    paths = document(table)["paths"]
    return [
        {
            "name": one.name,
            "title": f"{one.method} {one.template}",
            "summary": one.summary,
            "description": one.description,
            "scope": one.scope,
            "curl": curl(one),
            "parameters": [
                _row(each["name"], each["schema"], each["description"])
                for each in paths[one.template][one.method.lower()]["parameters"]
            ],
            "body": one.body.__name__ if one.body else None,
            "status": one.status,
            "answer": one.answer.__name__ if one.answer else None,
            "kinds": kinds(one),
            "example": _pretty(one.example) if one.example else None,
        }
        for one in table.operations
    ]


@cache
def shapes(table: Table) -> list[dict[str, Any]]:
    """Return what goes over the wire."""
    return [
        {
            "name": name,
            "description": schema["description"],
            "fields": [
                _row(field, each, each.get("description", ""), optional=field not in schema["required"])
                for field, each in schema["properties"].items()
            ],
        }
        for name, schema in document(table)["components"]["schemas"].items()
    ]


def _row(name: str, schema: dict[str, Any], description: str, *, optional: bool = False) -> dict[str, Any]:
    return {"name": name, "optional": optional, "values": _values(schema), "description": description}


def _values(schema: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return what a field may be, as words, each with whether it is a shape's name."""
    if "$ref" in schema:
        return [(schema["$ref"].rpartition("/")[2], True)]
    if "enum" in schema:
        return [(", ".join(map(str, schema["enum"])), False)]
    if "anyOf" in schema:
        return [words for each in schema["anyOf"] for words in [*_values(each), (" or ", False)]][:-1]
    if schema["type"] == "array":
        return [("list of ", False), *_values(schema["items"])]
    said = schema.get("format", schema["type"])
    if "minimum" in schema or "maximum" in schema:
        said += f" {schema.get('minimum', '')}–{schema.get('maximum', '')}"
    if "maxLength" in schema:
        said += f", at most {schema['maxLength']} characters"
    if "default" in schema:
        said += f" ({schema['default']})"
    return [(said, False)]


def _pretty(example: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(example), indent=2).decode()


def curl(one: Operation) -> str:
    """Return how to do it in a shell, where URL and TOKEN are set."""
    words = ["curl"]
    if one.method == "DELETE":
        words.append("-X DELETE")
    if one.scope:
        words.append('-H "Authorization: Bearer $TOKEN"')
    if one.given:
        words.append(f"--json '{msgspec.json.encode(one.given).decode()}'")
    path = one.template.replace("{seq}", "4714") + (f"?{one.asked}" if one.asked else "")
    return " ".join([*words, f'"$URL{path}"'])
