"""A Sigstore to sign with, and a model that was signed in every way. No test changes these: they are copied.

A plugin for the tests that name it in `pytest_plugins`, so that all of them share one of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attestkit import Signed, sign_in_every_way
from loopback_sigstore import LoopbackSigstore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def sigstore_instance() -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore() as running:
        yield running


@pytest.fixture
def sigstore(sigstore_instance: LoopbackSigstore) -> LoopbackSigstore:
    sigstore_instance.reset()
    return sigstore_instance


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory, sigstore_instance: LoopbackSigstore) -> Signed:
    sigstore_instance.reset()
    return sign_in_every_way(tmp_path_factory.mktemp("signed"), sigstore_instance)
