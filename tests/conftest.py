"""Options and settings that all tests share."""

from __future__ import annotations

import os

# Each of the workers of xdist has a core of its own at best; threads of BLAS would only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Commands that tests run in processes of their own start in half the time where byte code is kept, as it is for users.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

collect_ignore_glob = ["integration/quantise_by_tools.py", "integration/transformers/*"]
"""Scripts that run in environments of their own."""

SLOW_MODULES = {
    "test_attesting.py", "test_attesting_hub.py", "test_bands.py", "test_compact.py", "test_cyclonedx.py",
    "test_faults.py", "test_field.py", "test_file_faults.py", "test_html_report.py", "test_hub_commands.py",
    "test_hub_listing.py", "test_hub_reading.py", "test_keyless.py", "test_markdown.py", "test_mlflow_gate.py",
    "test_mlflow_source.py", "test_moments.py", "test_null.py", "test_objectstore.py", "test_oci_source.py",
    "test_planning.py", "test_quant_fuzz.py", "test_references_commands.py", "test_signing_commands.py",
    "test_stats.py", "test_sweep_buckets.py", "test_sweep_copies.py", "test_sweep_driver.py",
    "test_sweep_families.py", "test_sweep_oci.py", "test_sweep_outputs.py", "test_sweep_store.py", "test_tails.py",
}  # fmt: skip
"""Many servers, signatures and laws, each quick and together minutes: run by `make test-all` and in CI. Their goldens
are fast tests."""


LONGEST_FIRST = (
    "test_real_quant.py", "test_sweep_real.py", "test_mlflow_registry.py", "test_docs_commands.py", "test_action.py",
    "test_sweep_collections.py", "test_ci_templates.py", "test_real_families.py",
)  # fmt: skip
"""Modules that make large environments or wait for servers: a file is run whole by one process, so these begin."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        if item.path.name in SLOW_MODULES and not item.name.startswith("test_goldens["):
            item.add_marker(pytest.mark.slow)


# Timing on shared machines says nothing about the code; a failing example is what counts.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite tests/**/goldens from what is rendered now")


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-goldens"))


@pytest.fixture(autouse=True)
def _this_machine_only(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what surrounds a test out of it: CI, a cache of references, the Hub. Tests that mean them set them."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
