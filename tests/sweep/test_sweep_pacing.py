"""How fast a host is asked: never faster than its quota, and not at all while it asks to be left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.sources.hub_settings import HubSettings
from auditor.sweep.pacing import ANONYMOUS, SIGNED_IN, WINDOW, Pace, Quota, host_of, quota_for


def pace(quota: Quota | None = None) -> Pace:
    return Pace(lambda _: quota, patience=3, pause=10.0)


@given(
    costs=st.lists(st.integers(1, 200), min_size=1, max_size=60),
    quota=st.integers(100, 5_000),
    workers=st.integers(1, 8),
)
def test_over_any_long_time_the_quota_is_kept(costs: list[int], quota: int, workers: int) -> None:
    made, now, spent = pace(Quota(requests=quota)), 0.0, 0
    under_way: list[tuple[int, int]] = []
    for number, cost in enumerate(costs):
        if len(under_way) == workers:
            ended, price = under_way.pop(0)
            made.settle("h", ended, price, now, reached=True, wait=None)
        while (wait := made.wait("h", now)) > 0:
            now += wait + 1e-6
            if under_way:
                ended, price = under_way.pop(0)
                made.settle("h", ended, price, now, reached=True, wait=None)
        made.begin("h", number, now)
        under_way.append((number, cost))
        spent += cost
    # What a burst may take at once, and what was not settled yet, lie above the line.
    assert spent <= quota * (now / WINDOW) + quota / 10 + 200 * (workers + 1)


def test_a_host_without_a_quota_waits_for_nothing() -> None:
    made = pace()
    for number in range(10_000):
        assert made.wait("h", 0.0) == 0
        made.begin("h", number, 0.0)
        made.settle("h", number, 1_000, 0.0, reached=True, wait=None)


def test_calls_of_the_api_are_counted_by_target() -> None:
    made = pace(Quota(requests=300, calls_only=True))
    begun = 0
    while made.wait("h", 0.0) == 0:
        made.begin("h", begun, 0.0)
        made.settle("h", begun, 500, 0.0, reached=True, wait=None)  # ranged reads, which count elsewhere
        begun += 1
    assert begun == 11  # a tenth of 300, at 3 a target, and the one that oversteps
    assert made.wait("h", 0.0) == pytest.approx(3.0)
    assert made.wait("h", 3.01) == 0


def test_a_host_is_left_alone_as_long_as_it_asks_and_others_are_not() -> None:
    made = pace()
    made.begin("h", 1, 0.0)
    made.settle("h", 1, 5, 0.0, reached=False, wait=42.0)
    assert made.wait("h", 1.0) == 41.0
    assert made.wait("other", 1.0) == 0
    assert not made.is_down("h")
    assert made.wait("h", 42.0) == 0


def test_a_host_that_is_down_is_asked_by_one_target_at_a_time_and_ever_less_often() -> None:
    made, now = pace(), 0.0
    for number in range(3):
        made.begin("h", number, now)
        made.settle("h", number, 5, now, reached=False, wait=None)
    assert made.is_down("h")
    pauses = []
    for number in range(3, 6):
        pauses.append(made.wait("h", now))
        now += pauses[-1]
        assert made.wait("h", now) == 0
        made.begin("h", number, now)
        assert made.wait("h", now) == float("inf")
        made.settle("h", number, 5, now, reached=False, wait=None)
    assert pauses == [10.0, 20.0, 40.0]
    assert made.silent("h", now) == now
    made.begin("h", 9, now + 80)
    made.settle("h", 9, 5, now + 80, reached=True, wait=None)
    assert not made.is_down("h")
    assert made.silent("h", now + 80) == 0
    assert made.wait("h", now + 80) == 0


def test_only_the_public_hub_has_a_quota_unless_one_is_given() -> None:
    public = HubSettings(endpoint="https://huggingface.co", cache=Path("x"))
    signed_in = HubSettings(endpoint="https://huggingface.co", cache=Path("x"), token="t")  # noqa: S106
    mirror = HubSettings(endpoint="http://mirror.example:8080", cache=Path("x"))
    assert quota_for(public, None)("huggingface.co") == Quota(requests=ANONYMOUS, calls_only=True)
    assert quota_for(signed_in, None)("huggingface.co") == Quota(requests=SIGNED_IN, calls_only=True)
    assert quota_for(public, None)("oci://reg.example") is None
    assert quota_for(mirror, None)("mirror.example:8080") is None
    assert quota_for(mirror, 600)("mirror.example:8080") == Quota(requests=600)


@pytest.mark.parametrize("target", ["tests", "\0", "x" * 5000, "no scheme", ""])
def test_what_lies_here_or_nowhere_has_no_host(target: str) -> None:
    assert host_of(target, "hub") is None


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("oci://Reg.example:5000/acme/chat:v1", "oci://reg.example:5000"),
        ("oci://index.docker.io/acme/chat", "oci://docker.io"),
        ("oci://me:secret@reg.example/a", "oci://reg.example"),
        ("s3://models/chat", "s3://models"),
        ("gs://models/chat", "gs://storage.googleapis.com"),
        ("s3://models/[x]?y#z", "s3://models"),
        ("models:/chat/1", "models://"),
    ],
)
def test_whom_a_target_is_asked_of(monkeypatch: pytest.MonkeyPatch, target: str, host: str) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert host_of(target, "hub") == host


def test_buckets_of_one_endpoint_are_of_one_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@Minio.example:9000/")
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:4443")
    assert {host_of(f"s3://{bucket}/x", "hub") for bucket in "ab"} == {"s3://minio.example:9000"}
    assert host_of("gs://a/x", "hub") == "gs://127.0.0.1:4443"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example")
    assert host_of("s3://a/x", "hub") == "s3://s3.example"
