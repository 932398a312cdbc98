"""The MLflow source against servers that lie, refuse, or are busy: what the real one in integration/ never does."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hubkit import noise, whole
from loopback_hub import Answer, Request
from loopback_mlflow import RUN, LoopbackMlflow

from auditor.errors import (
    ArtifactsElsewhere,
    AuditError,
    BadModelUri,
    MissingModelVersion,
    MlflowDenied,
    MlflowError,
    MlflowMismatch,
    MlflowUnreachable,
    RangeIgnored,
    ServerMismatch,
    TargetError,
    Undelivered,
    VersionChanged,
)
from auditor.limits import LIMITS
from auditor.sources import Range, hub_http, hub_reader, mlflow_artifacts, mlflow_http, open_source
from auditor.sources.mlflow import MlflowSource
from auditor.sources.mlflow_settings import MlflowSettings
from auditor.sources.mlflow_target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Twist = Callable[[Request, Answer], Answer]

TOKEN = "very-secret-token"  # noqa: S105 - of nobody
TARGET = "models:/chat/1"
FILES = {"MLmodel": b"flavors: {}\n", "data/model.safetensors": noise(1_000_000), "data/empty": b""}
W = "data/model.safetensors"
SAID = 100  # bytes in which a server says what it can do


@pytest.fixture
def server() -> Iterator[LoopbackMlflow]:
    with LoopbackMlflow(dict(FILES)) as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    for module in (hub_http, mlflow_http):
        monkeypatch.setattr(module, "_pause", waited.append)
    return waited


def limits(monkeypatch: pytest.MonkeyPatch, **changes: float) -> None:
    for module in (hub_http, hub_reader, mlflow_http, mlflow_artifacts):
        monkeypatch.setattr(module, "LIMITS", replace(LIMITS, **changes))  # type: ignore[arg-type]


def listing(*entries: dict[str, Any], folder: str = "model") -> Twist:
    """Send these as the list of the first folder."""

    def twist(request: Request, answer: Answer) -> Answer:
        if "mlflow-artifacts/artifacts?path=" in request.path and request.path.endswith(f"%2F{folder}"):
            return replace(answer, body=json.dumps({"files": entries}).encode())
        return answer

    return twist


def on(pattern: str, **changes: Any) -> Twist:  # noqa: ANN401 (fields of an answer)
    return lambda request, answer: replace(answer, **changes) if pattern in request.path else answer


# --- what a target may be


def test_a_version_or_an_alias_is_a_target() -> None:
    assert str(parse_target("models:/team chat/12")) == "models:/team chat/12"
    assert parse_target("models:/a@b@prod").name == "a@b"
    assert parse_target("MODELS:/chat@ok").alias == "ok"


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("models:/", "is named models:/name/version"),
        ("models:/chat", "is named models:/name/version"),
        ("models:/chat/", "a version is a number"),
        ("models:/chat/0", "a version is a number"),
        ("models:/chat/1/2", "a version is a number"),
        ("models:/chat/latest", "stages and latest"),
        ("models:/chat/Production", "stages and latest"),
        ("models:/chat@", "an alias is of"),
        ("models:/chat@latest", "an alias is of"),
        ("models:/chat@v3", "an alias is of"),
        ("models:/chat@a/b", "a version is a number"),
        ("models:/../1", "no model name"),
        ("models:/a\x1bb/1", "no model name"),
        ("models:/a\u202eb/1", "no model name"),
        (f"models:/{'a' * 257}/1", "longer than 256"),
        ("models:/m-" + "0" * 32, "register it first"),
    ],
)
def test_what_is_no_version_is_refused_before_any_request(target: str, problem: str) -> None:
    with pytest.raises(BadModelUri, match=problem):
        open_source(target)


# --- who we are


def test_the_environment_says_where_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MlflowError, match="MLFLOW_TRACKING_URI is not set"):
        open_source(TARGET)
    found = MlflowSettings.current({"MLFLOW_TRACKING_URI": "http://a.example/x/", "MLFLOW_REGISTRY_URI": "https://b"})
    assert (found.tracking, found.registry) == ("http://a.example/x", "https://b")
    only = MlflowSettings.current({"MLFLOW_REGISTRY_URI": "https://b"})
    assert only.tracking == "https://b"


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "./mlruns", "file:///x", "http://me:pw@host", "http://h/?a=b", "x"])
def test_what_is_no_server_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(MlflowError) as error:
        MlflowSettings.current({"MLFLOW_TRACKING_URI": uri})
    assert "MLFLOW_TRACKING_URI must be" in str(error.value)
    assert "pw" not in str(error.value)


def test_a_password_goes_before_a_token_and_neither_is_shown() -> None:
    env = {"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "pa ss"}
    found = MlflowSettings.current(env | {"MLFLOW_TRACKING_TOKEN": TOKEN})
    assert found.authorization == "Basic " + base64.b64encode(b"me:pa ss").decode()
    assert "pa ss" not in repr(found)
    bearer = MlflowSettings.current({"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_TRACKING_TOKEN": TOKEN})
    assert bearer.authorization == f"Bearer {TOKEN}"
    assert TOKEN not in repr(bearer)
    with pytest.raises(MlflowError, match="no token has") as error:
        MlflowSettings.current({"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_TRACKING_TOKEN": "a\nb"})
    assert "a\nb" not in str(error.value)


def test_credentials_go_to_the_server_and_not_to_its_store(server: LoopbackMlflow) -> None:
    server.signs = True
    source = MlflowSource(TARGET, server.settings(MLFLOW_TRACKING_TOKEN=TOKEN))
    assert whole(source, W) == FILES[W]
    assert {request.headers.get("authorization") for request in server.asked("server")} == {f"Bearer {TOKEN}"}
    read = server.asked("store")
    assert read
    assert not any("authorization" in request.headers for request in read)


def test_credentials_do_not_follow_a_redirect(server: LoopbackMlflow) -> None:
    def moved(request: Request, answer: Answer) -> Answer:
        if request.host == "server" and "get-artifact" in request.path and "safetensors" in request.path:
            return Answer(status=302, headers={"Location": f"{server.store}/{W}"})
        return answer

    server.twist = moved
    source = MlflowSource(TARGET, server.settings(MLFLOW_TRACKING_USERNAME="me", MLFLOW_TRACKING_PASSWORD="pw"))  # noqa: S106
    assert whole(source, W) == FILES[W]
    assert server.asked("store")
    assert not any("authorization" in request.headers for request in server.asked("store"))


def test_what_the_server_sends_back_of_credentials_is_not_shown(server: LoopbackMlflow) -> None:
    server.twist = listing({"path": TOKEN, "is_dir": False, "file_size": 3}, {"path": "b", "file_size": 1})
    source = MlflowSource(TARGET, server.settings(MLFLOW_TRACKING_TOKEN=TOKEN))
    assert [unread.code for unread in source.refused()] == ["bad-name"]
    assert TOKEN not in repr(source.refused())


@pytest.mark.parametrize(("status", "hint"), [(401, "MLFLOW_TRACKING_TOKEN"), (403, "MLFLOW_TRACKING_TOKEN")])
def test_a_server_that_wants_credentials_says_which(server: LoopbackMlflow, status: int, hint: str) -> None:
    server.twist = on("model-versions/get", status=status)
    with pytest.raises(MlflowDenied, match=hint):
        MlflowSource(TARGET, server.settings())
    with pytest.raises(MlflowDenied, match="the credentials in use are wrong") as error:
        MlflowSource(TARGET, server.settings(MLFLOW_TRACKING_TOKEN=TOKEN))
    assert TOKEN not in str(error.value)


# --- which version, and where its files are


def test_what_the_registry_does_not_know_is_missing(server: LoopbackMlflow) -> None:
    for target in ("models:/chat/2", "models:/other/1", "models:/chat@approved"):
        with pytest.raises(MissingModelVersion):
            MlflowSource(target, server.settings())


def test_an_alias_becomes_a_version_once(server: LoopbackMlflow) -> None:
    server.aliases["approved"] = "1"
    source = MlflowSource("models:/chat@approved", server.settings())
    assert (source.uri, source.revision, source.kind) == (TARGET, f"1+run.{RUN}", "mlflow")
    server.aliases["approved"] = "7"
    assert whole(source, W) == FILES[W]
    assert len(server.asked("server", "registered-models/alias")) == 1


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"version": "2"}, MlflowMismatch),
        ({"name": "other"}, MlflowMismatch),
        ({"status": "PENDING_REGISTRATION"}, MlflowError),
        ({"status": "FAILED_REGISTRATION"}, MlflowError),
    ],
)
def test_another_or_unready_version_is_refused(
    server: LoopbackMlflow, record: dict[str, str], error: type[AuditError]
) -> None:
    body = json.dumps({"model_version": server.version | record}).encode()
    server.twist = on("model-versions/get?", body=body)
    with pytest.raises(error):
        MlflowSource(TARGET, server.settings())


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/model",
        "/etc",
        "file:///etc",
        "mlflow-artifacts://elsewhere.example/1/model",
        "http://elsewhere.example/api/2.0/mlflow-artifacts/artifacts/1/model",
        "http://169.254.169.254/latest",
    ],
)
def test_files_outside_of_the_server_are_refused_and_nobody_else_is_asked(server: LoopbackMlflow, uri: str) -> None:
    server.uri = uri
    with pytest.raises(ArtifactsElsewhere) as error:
        MlflowSource(TARGET, server.settings())
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "uri", ["mlflow-artifacts:/a/../../b", "runs:/../x", "runs:/a b/model", "mlflow-artifacts:/a/./b"]
)
def test_a_place_that_leaves_its_store_is_refused(server: LoopbackMlflow, uri: str) -> None:
    server.uri = uri
    with pytest.raises(MlflowMismatch):
        MlflowSource(TARGET, server.settings())


@pytest.mark.parametrize("uri", [f"runs:/{RUN}/model", f"s3://bucket/{RUN}/model"])
def test_files_of_a_run_are_read_through_the_run(server: LoopbackMlflow, uri: str) -> None:
    server.uri = uri
    source = MlflowSource(TARGET, server.settings())
    assert {info.path: info.size for info in source.files()} == {path: len(data) for path, data in FILES.items()}
    assert source.read(W, [Range(500_000, 500_010)]) == [FILES[W][500_000:500_010]]
    assert server.asked("server", f"^/get-artifact.run_id={RUN}")


# --- the list of files


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"path": "../up", "file_size": 1}, "unsafe-path"),
        ({"path": "/etc/passwd", "file_size": 1}, "unsafe-path"),
        ({"path": "a\\b", "file_size": 1}, "unsafe-path"),
        ({"path": "a\0b", "file_size": 1}, "bad-name"),
        ({"path": "a\nb", "file_size": 1}, "bad-name"),
        ({"path": "..", "is_dir": True}, "unsafe-path"),
        ({"path": "", "file_size": 1}, "unsafe-path"),
        ({"path": "other/x", "file_size": 1}, "server-mismatch"),
        ({"path": "a" * 1025, "file_size": 1}, "limit-exceeded"),
        ({"path": "\ud800", "file_size": 1}, "not-text"),
        ({"path": 3}, "server-mismatch"),
        ({}, "server-mismatch"),
        ({"path": "a", "file_size": -1}, "server-mismatch"),
        ({"path": "a", "file_size": 1 << 63}, "server-mismatch"),
        ({"path": "a", "file_size": True}, "server-mismatch"),
        ({"path": "gone"}, "server-mismatch"),  # no size, and none to be got
    ],
)
def test_an_unusable_entry_is_refused_by_itself(server: LoopbackMlflow, entry: dict[str, Any], code: str) -> None:
    server.twist = listing(entry, {"path": "MLmodel", "file_size": 12})
    source = MlflowSource(TARGET, server.settings())
    assert [info.path for info in source.files()] == ["MLmodel"]
    assert [unread.code for unread in source.refused()] == [code]


def test_sizes_may_be_left_out_or_be_text(server: LoopbackMlflow) -> None:
    server.twist = listing({"path": "MLmodel"}, {"path": "x", "file_size": "7"})
    source = MlflowSource(TARGET, server.settings())
    assert {info.path: info.size for info in source.files()} == {"MLmodel": len(FILES["MLmodel"]), "x": 7}


def test_a_file_listed_twice_is_refused(server: LoopbackMlflow) -> None:
    server.twist = listing({"path": "a", "file_size": 1}, {"path": "a", "file_size": 2})
    with pytest.raises(MlflowMismatch, match="twice"):
        MlflowSource(TARGET, server.settings())


def test_lists_without_end_are_given_up(server: LoopbackMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, mlflow_asks=20)
    answer = {"files": [{"path": "d", "is_dir": True}]}
    server.twist = on("mlflow-artifacts/artifacts?", body=json.dumps(answer).encode())
    with pytest.raises(TargetError, match="more than 20 requests"):
        MlflowSource(TARGET, server.settings())
    page = {"files": [], "next_page_token": "again"}
    server.twist = on("mlflow-artifacts/artifacts?", body=json.dumps(page).encode())
    with pytest.raises(TargetError, match="more than 20 requests"):
        MlflowSource(TARGET, server.settings())
    limits(monkeypatch, files=3)
    server.twist = listing(*({"path": f"{i}", "file_size": 1} for i in range(4)))
    with pytest.raises(TargetError, match="more than 3 files"):
        MlflowSource(TARGET, server.settings())


def test_folders_too_deep_are_refused(server: LoopbackMlflow) -> None:
    server.twist = on(
        "mlflow-artifacts/artifacts?", body=json.dumps({"files": [{"path": "d", "is_dir": True}]}).encode()
    )
    (refused,) = MlflowSource(TARGET, server.settings()).refused()
    assert (refused.code, refused.path.count("/")) == ("limit-exceeded", LIMITS.path_depth + 1)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"files": 3}', b"[" * 100_000, b"\xff"])
def test_what_is_no_list_is_refused(server: LoopbackMlflow, body: bytes) -> None:
    server.twist = on("mlflow-artifacts/artifacts?", body=body)
    with pytest.raises(MlflowUnreachable):
        MlflowSource(TARGET, server.settings())


def test_an_answer_too_long_is_refused(server: LoopbackMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, mlflow_json=1_000)
    server.twist = on("mlflow-artifacts/artifacts?", body=b" " * 2_000)
    with pytest.raises(MlflowUnreachable):
        MlflowSource(TARGET, server.settings())


def test_a_version_without_files_is_refused(server: LoopbackMlflow) -> None:
    server.files.clear()
    with pytest.raises(MlflowError, match="has no files"):
        MlflowSource(TARGET, server.settings())


# --- reading


def test_a_part_of_a_file_costs_a_part(server: LoopbackMlflow) -> None:
    source = MlflowSource(TARGET, server.settings())
    before = source.http_bytes
    assert source.read(W, [Range(999_990, 1_000_000), Range(10, 20)]) == [FILES[W][-10:], FILES[W][10:20]]
    assert 0 <= source.http_bytes - before - (LIMITS.hub_head + 10) < SAID
    assert source.read("data/empty", [Range(0, 0)]) == [b""]


def test_a_server_without_ranges_sends_small_files_whole_and_large_ones_not_at_all(
    server: LoopbackMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(request: Request, answer: Answer) -> Answer:
        return Answer(body=FILES[W]) if "get-artifact" in request.path and "safetensors" in request.path else answer

    server.twist = deaf
    source = MlflowSource(TARGET, server.settings())
    before = source.http_bytes
    assert source.read(W, [Range(5, 9)]) == [FILES[W][5:9]]
    assert 0 <= source.http_bytes - before - len(FILES[W]) < SAID  # told as it was
    limits(monkeypatch, hub_direct=1000)
    source = MlflowSource(TARGET, server.settings())
    before = source.http_bytes
    with pytest.raises(RangeIgnored, match="ignores ranges"):
        source.read(W, [Range(5, 9)])
    assert source.http_bytes - before < SAID


@pytest.mark.parametrize(
    ("content_range", "error"),
    [("bytes 0-65535/999", ServerMismatch), ("bytes 1-65536/1000000", RangeIgnored), ("bytes 0-9/*", RangeIgnored)],
)
def test_other_bytes_than_asked_are_refused(
    server: LoopbackMlflow, content_range: str, error: type[AuditError]
) -> None:
    server.twist = on("safetensors", headers={"Content-Range": content_range})
    source = MlflowSource(TARGET, server.settings())
    with pytest.raises(error):
        source.read(W, [Range(0, 10)])


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_file_that_is_not_delivered_is_named(server: LoopbackMlflow, status: int) -> None:
    server.twist = on("safetensors", status=status, body=b"<script>")
    source = MlflowSource(TARGET, server.settings())
    with pytest.raises(Undelivered, match=f"^{W}: .*{status}") as error:
        source.read(W, [Range(0, 10)])
    assert "script" not in str(error.value)


def test_a_busy_server_is_asked_again(server: LoopbackMlflow, waits: list[float]) -> None:
    left = {"429": 1, "503": 2}

    def busy(_: Request, answer: Answer) -> Answer:
        for status, count in left.items():
            if count:
                left[status] -= 1
                return Answer(status=int(status), headers={"Retry-After": "7"})
        return answer

    server.twist = busy
    assert whole(MlflowSource(TARGET, server.settings()), W) == FILES[W]
    assert waits == [7.0, 7.0, 7.0]
    server.twist = lambda *_: Answer(status=500)
    with pytest.raises(MlflowUnreachable, match="answers 500, 5 times"):
        MlflowSource(TARGET, server.settings())


def test_a_signed_url_that_is_over_its_time_is_got_anew(server: LoopbackMlflow) -> None:
    server.signs = True
    source = MlflowSource(TARGET, server.settings())
    assert source.read(W, [Range(0, 10)])
    refused = [1]

    def expired(request: Request, answer: Answer) -> Answer:
        return Answer(status=403) if request.host == "store" and refused and refused.pop() else answer

    server.twist = expired
    assert source.read(W, [Range(500_000, 500_010)]) == [FILES[W][500_000:500_010]]
    assert len(server.asked("server", "presigned")) == 2


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://u:p@x/", "//", 3, None])
def test_a_signed_url_that_is_none_is_not_followed(server: LoopbackMlflow, url: object) -> None:
    server.signs = True
    server.twist = on("presigned", status=200, body=json.dumps({"url": url, "headers": {}}).encode())
    source = MlflowSource(TARGET, server.settings())
    if isinstance(url, str):
        with pytest.raises(Undelivered):
            source.read(W, [Range(0, 10)])
    else:
        assert source.read(W, [Range(0, 10)]) == [FILES[W][:10]]  # from the server itself
    assert not server.asked("store")


# --- a version that changes


def test_a_version_made_anew_under_the_same_number_is_told(server: LoopbackMlflow) -> None:
    source = MlflowSource(TARGET, server.settings())
    source.check_unchanged()
    server.version["tags"] = [{"key": "a", "value": "b"}]
    server.version["last_updated_timestamp"] = 1
    source.check_unchanged()  # tags are no part of what was audited
    server.version["creation_timestamp"] += 1
    with pytest.raises(VersionChanged, match="another model"):
        source.check_unchanged()


def test_a_list_of_files_that_changed_is_told(server: LoopbackMlflow) -> None:
    source = MlflowSource(TARGET, server.settings())
    server.files["data/more.safetensors"] = b"x"
    with pytest.raises(VersionChanged, match="files changed"):
        source.check_unchanged()
