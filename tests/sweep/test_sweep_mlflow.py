"""The versions of MLflow's registry as targets of a sweep; a server that lies about them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from loopback_hub.server import Answer, Request
from loopback_mlflow import LoopbackMlflow

from auditor.errors import MlflowError, UsageError
from auditor.sweep.listings import Filters, open_listing

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackMlflow]:
    with LoopbackMlflow({}) as made:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", made.url)
        yield made


def serve(server: LoopbackMlflow, *pages: Any, endless: bool = False) -> None:  # noqa: ANN401 (JSON)
    def twist(request: Request, _: Answer) -> Answer:
        asked = parse_qs(urlsplit(request.path).query)
        number = int(asked.get("page_token", ["0"])[0])
        answer = {"model_versions": pages[number]} if isinstance(pages[number], list) else pages[number]
        if number + 1 < len(pages) or endless:
            answer = {**answer, "next_page_token": str(number + (0 if endless else 1))}
        return Answer(body=json.dumps(answer).encode())

    server.twist = twist


def targets(name: str = "models:/*") -> list[str]:
    return [listed.entry.target for listed in open_listing(name)]


def test_every_version_on_every_page_is_a_target(server: LoopbackMlflow) -> None:
    first = [{"name": "chat", "version": "2"}, {"name": "chat", "version": "1"}]
    serve(server, first, [{"name": "team embed", "version": 7}, {"name": "chat", "version": "1"}])
    assert targets() == ["models:/chat/2", "models:/chat/1", "models:/team embed/7"]
    assert [request.path.count("page_token") for request in server.requests] == [0, 1]


def test_one_model_is_asked_for_by_name(server: LoopbackMlflow) -> None:
    serve(server, [{"name": "team chat", "version": "2"}])
    assert targets("models:/team chat/*") == ["models:/team chat/2"]
    assert parse_qs(urlsplit(server.requests[0].path).query)["filter"] == ["name='team chat'"]


@pytest.mark.parametrize(
    "page",
    [
        [], {"model_versions": {}}, [[]], [{"name": "chat"}], [{"name": 1, "version": "1"}], [{"name": "other",
        "version": "1"}], "x",
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(server: LoopbackMlflow, page: object) -> None:
    serve(server, page)
    if page == "x":
        server.twist = lambda _, __: Answer(body=b'"x"')
    with pytest.raises(MlflowError):
        targets("models:/chat/*")


def test_a_list_that_does_not_end_is_refused(server: LoopbackMlflow) -> None:
    serve(server, [{"name": "chat", "version": "1"}], endless=True)
    with pytest.raises(MlflowError, match="does not end"):
        targets()


@pytest.mark.parametrize("name", ["models:/chat", "models:/", "models:/a/b/*", "models:/x' or name='y/*"])
def test_what_names_no_collection(server: LoopbackMlflow, name: str) -> None:
    with pytest.raises(UsageError):
        targets(name)
    with pytest.raises(UsageError):
        open_listing("models:/*", Filters(tags=("x",)))
    assert server.requests == []
