"""What tests of container images share."""

from pathlib import Path

import pytest


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty directory for what a fetch or a build needs."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"
