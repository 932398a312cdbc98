"""What callers may rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest

import auditor


def test_public_names() -> None:
    assert auditor.__all__ == ["AuditError", "Options", "Report", "__version__", "scan", "sketch"]
    for name in auditor.__all__:
        assert getattr(auditor, name) is not None
    with pytest.raises(AttributeError):
        auditor.nothing  # noqa: B018 (the access is the test)


def test_importing_the_package_is_light() -> None:
    code = "import auditor, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
