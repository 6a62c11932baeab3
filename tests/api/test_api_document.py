"""The OpenAPI document: true in every example and every schema, and complete."""

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streamgauge.read.problems import MEDIA_TYPE
from tests.api.server import Api, bearer, open_api
from tests.integration.engine import generate

READING = (
    "aggregate", "breakdown", "catalogue", "dashboard", "ledger", "pipeline", "query", "realtime", "summary", "timeseries",
)  # fmt: skip


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server with events of the last days."""
    async with open_api(redis_url, database_url, tmp_path, {"berlin": "Europe/Berlin"}) as opened:
        await opened.engine.publish(generate(11, 300, ("berlin",)))
        await opened.engine.drain()
        yield opened


async def document_of(api: Api, key: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("openapi.json", key)).json()
    return found


def reading(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every operation of the read API."""
    for name in READING:
        for method, operation in document["paths"][f"/api/v1/{name}"].items():
            yield f"/api/v1/{name}", method, operation


def resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that can be looked up on its own."""
    return {**schema, "components": document["components"]}


async def test_every_operation_says_what_it_is_for_and_what_it_answers(api: Api) -> None:
    document = await document_of(api, await api.key("berlin", "read"))
    assert document["openapi"].startswith("3.1")
    found = list(reading(document))
    assert len(found) == len(READING)
    for path, method, operation in found:
        assert method == ("post" if path.endswith("query") else "get")
        assert len(operation["summary"]) > 10, path
        assert len(operation["description"]) > 40, path
        assert operation["tags"], path
        assert operation["security"] == [{"key": []}], path
        assert operation["responses"]["200"]["content"]["application/json"]["schema"], path
        for status in ("400", "401", "403", "503"):
            problem = operation["responses"][status]["content"][MEDIA_TYPE]["schema"]
            assert {"type", "title", "status", "detail"} <= set(problem["properties"])
        assert "422" not in operation["responses"], path
        assert ("304" in operation["responses"]) == (method == "get"), path
        for parameter in operation.get("parameters", []):
            about = path, parameter["name"]
            assert len(parameter["description"]) > 8, about
            schema = parameter["schema"]
            options = schema.get("anyOf", [schema])
            limited = {"maxLength", "maximum", "enum"}
            assert all(limited & set(each) or each["type"] == "null" for each in options), about
            assert schema.get("examples"), about
    schemes = document["components"]["securitySchemes"]
    assert (schemes["key"]["type"], schemes["key"]["scheme"]) == ("http", "bearer")


async def test_every_example_is_answered_as_its_schema_says(api: Api) -> None:
    key = await api.key("berlin", "admin")
    document = await document_of(api, key)
    asked = 0
    for path, method, operation in reading(document):
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator(resolved(document, answer))
        replies = []
        if method == "post":
            content = operation["requestBody"]["content"]["application/json"]
            for example in content["examples"].values():
                jsonschema.validate(example["value"], content["schema"])
                replies.append(await api.client.post(path, json=example["value"], headers=bearer(key)))
        else:
            for parameters in combinations(operation.get("parameters", [])):
                replies.append(await api.client.get(path, params=parameters, headers=bearer(key)))
        for reply in replies:
            assert reply.status_code == 200, (str(reply.request.url), reply.text)
            validator.validate(reply.json())
            asked += 1
    assert asked > 40


def combinations(parameters: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """No parameters; the examples of each, and of any two that go together."""
    examples = {each["name"]: each["schema"]["examples"] for each in parameters}
    yield {}
    for names in (*((name,) for name in examples), *itertools.combinations(examples, 2)):
        chosen = set(names)
        if chosen & {"from", "to"}:
            chosen |= {"from", "to"}
        if "date_range" in chosen and "from" in chosen:
            continue
        for place in range(max(len(examples[name]) for name in chosen)):
            yield {name: str(examples[name][place % len(examples[name])]) for name in chosen}


async def test_refusals_have_the_form_that_the_document_gives_them(api: Api) -> None:
    key = await api.key("berlin", "read")
    document = await document_of(api, key)
    operation = document["paths"]["/api/v1/summary"]["get"]
    for status, reply in (
        (400, await api.get("summary?hours=0", key)),
        (401, await api.get("summary", None)),
    ):
        assert (reply.status_code, reply.headers["content-type"]) == (status, MEDIA_TYPE)
        schema = operation["responses"][str(status)]["content"][MEDIA_TYPE]["schema"]
        assert list(jsonschema.Draft202012Validator(schema).iter_errors(reply.json())) == []
        # The schema is one that something else would not pass.
        assert not jsonschema.Draft202012Validator(schema).is_valid({"error": "no"})


async def test_the_schemas_tell_more_than_that_it_is_an_object(api: Api) -> None:
    document = await document_of(api, await api.key("berlin", "read"))
    schemas = document["components"]["schemas"]
    for name in ("Summary", "Dashboard", "Realtime", "Ledger", "PipelineReport", "Declared", "Answer"):
        assert schemas[name]["type"] == "object"
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"])
        assert len(schemas[name]["properties"]) >= 2
