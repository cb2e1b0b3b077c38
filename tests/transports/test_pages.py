"""The page, its files, and the documents that describe the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.routing import Route

import event_schemas
from gateway.domain.error_codes import CODES
from gateway.domain.messages import PROBLEMS
from gateway.protocol.operations import OPERATIONS
from gateway.transports.pages import page_routes
from tests.transports.http_client import ask
from tests.transports.world import SECRET, world


@pytest.fixture
def frontend(tmp_path: Path) -> Path:
    folder = tmp_path / "front"
    folder.mkdir()
    (folder / "index.html").write_text("<title>page</title>")
    (folder / "client").mkdir()
    (folder / "client.js").write_text("export {}")
    (folder / "client" / "inner.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    return folder


async def test_the_page_and_its_files_come_with_their_headers(frontend: Path) -> None:
    async with world(frontend=frontend) as here:
        for path, kind in (
            ("/", "text/html"),
            ("/static/client.js", "text/javascript"),
            ("/static/client/inner.js", "text/javascript"),
        ):
            answer = await ask(here, "GET", path)
            assert answer.status == 200
            assert answer.headers["content-type"].startswith(kind)
            host = f"127.0.0.1:{here.port}"
            assert answer.headers["content-security-policy"].startswith(
                f"default-src 'self'; connect-src 'self' ws://{host} wss://{host}; "
            )
            assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("demo", "begin"), [(False, b"<html lang"), (True, b"<html data-demo lang")]
)
async def test_the_page_of_a_demonstration_knows_that_it_is_one(
    frontend: Path, demo: bool, begin: bytes
) -> None:
    """It would have to ask else, and be answered 404 by every other gateway."""
    (frontend / "index.html").write_text("<html lang=en>")
    page = page_routes(frontend, demo=demo)[0]
    assert isinstance(page, Route)
    answer = await page.endpoint(Request({"type": "http", "method": "GET", "headers": []}))
    assert answer.body == begin + b"=en>"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/static/client.js", "/schemas", "/schemas/agent_error.json"),
        *("/error-codes", "/openapi.json", "/asyncapi.json"),
    ],
)
async def test_what_a_client_has_already_is_not_sent_again(frontend: Path, path: str) -> None:
    """RFC 9110, 13.1.2: weak comparison, lists, "*"; and 15.4.5: the same headers, no body."""
    async with world(frontend=frontend) as here:
        whole = await ask(here, "GET", path)
        etag = whole.headers["etag"]
        assert (whole.status, whole.headers["cache-control"]) == (200, "no-cache")
        assert etag.startswith('"')
        for known in (etag, f"W/{etag}", f'"other", {etag}'):
            for method in ("GET", "HEAD"):
                answer = await ask(here, method, path, headers={"if-none-match": known})
                assert (answer.status, answer.text) == (304, "")
                assert answer.headers["etag"] == etag
                assert answer.headers["cache-control"] == "no-cache"
        if not path.startswith("/static"):  # Starlette's own; it sends these once more
            assert (await ask(here, "GET", path, headers={"if-none-match": "*"})).status == 304
        for other in ('"other"', etag[:-2] + '"', etag.strip('"')):
            answer = await ask(here, "GET", path, headers={"if-none-match": other})
            assert (answer.status, answer.text) == (200, whole.text)


async def test_another_document_has_another_etag(frontend: Path) -> None:
    async with world(frontend=frontend) as here:
        before = (await ask(here, "GET", "/")).headers["etag"]
        (frontend / "index.html").write_text("<title>page 2</title>")
        answer = await ask(here, "GET", "/", headers={"if-none-match": before})
        assert (answer.status, answer.headers["etag"] != before) == (200, True)
        etags = {
            (await ask(here, "GET", f"/schemas/{type}.json")).headers["etag"]
            for type in event_schemas.TYPES
        }
        assert len(etags) == len(event_schemas.TYPES)


async def test_what_changes_is_not_kept_by_anyone() -> None:
    """Its position says how new an answer is; news of it are pushed, not asked for again."""
    async with world() as here:
        task = (await ask(here, "POST", "/api/tasks", body={"agent": "a"})).json
        for path in (f"/api/tasks/{task['task_id']}", "/api/tasks", "/api/stats"):
            answer = await ask(here, "GET", path, headers={"if-none-match": "*"})
            assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
            assert "position" in answer.headers
            assert "etag" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/static/none.js", "/static/link", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt"],
)
async def test_nothing_else_is_served(frontend: Path, path: str) -> None:
    async with world(frontend=frontend) as here:
        answer = await ask(here, "GET", path)
        assert answer.status == 404
        assert answer.json["code"] == "not_found"


async def test_a_gateway_without_its_page_still_works(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "none"):
        async with world(frontend=folder) as here:
            assert (await ask(here, "GET", "/")).status == 404
            assert (await ask(here, "GET", "/health")).status == 200


async def test_every_type_has_its_schema() -> None:
    async with world() as here:
        listed = (await ask(here, "GET", "/schemas")).json
        assert listed["next"] is None
        assert {item["type"] for item in listed["items"]} == set(event_schemas.TYPES)
        for item in listed["items"]:
            answer = await ask(here, "GET", item["url"])
            assert answer.json == event_schemas.bundle(item["type"])


async def test_the_descriptions_cover_every_operation_and_event() -> None:
    async with world() as here:
        openapi = (await ask(here, "GET", "/openapi.json")).json
        asyncapi = (await ask(here, "GET", "/asyncapi.json")).json
    assert openapi["openapi"].startswith("3.1")
    for operation in OPERATIONS.values():
        described = openapi["paths"][operation.path][operation.method.lower()]
        assert described["operationId"] == operation.name
        assert operation.name in asyncapi["components"]["messages"]
    assert asyncapi["asyncapi"].startswith("3.")
    assert set(event_schemas.TYPES) <= asyncapi["components"]["messages"].keys()
    created = openapi["paths"]["/api/tasks"]["post"]
    assert "idempotency-key" in [parameter["name"] for parameter in created["parameters"]]


async def test_the_codes_of_failures_are_listed_with_what_follows() -> None:
    async with world(secret=SECRET) as here:
        items = (await ask(here, "GET", "/error-codes")).json["items"]
    assert [item["error_code"] for item in items] == list(CODES)
    (code,) = (item for item in items if item["error_code"] == "llm_rate_limit")
    assert code == {
        "error_code": "llm_rate_limit",
        "error_type": "rate_limit",
        "sentence": PROBLEMS["llm_rate_limit"],
        "suggested_action": "wait",
        "is_recoverable": True,
        "retry_possible": True,
        "retried": True,
        "counts": True,
    }
