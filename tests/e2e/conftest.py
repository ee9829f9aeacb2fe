"""Fixtures of the end-to-end tests."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lockset_dev import Dev  # noqa: E402
from s3_rig import rgw  # noqa: E402,F401 pylint: disable=unused-import


@pytest.fixture(scope="session")
def shared_dev():
    """One `lockset dev` at default settings for tests that leave it as they found it."""
    with Dev() as dev:
        yield dev


@pytest.fixture
def dev_with():
    """Starts `lockset dev` with settings; everything ends with the test."""
    started = []

    def start(settings=None, data=None):
        dev = Dev(settings, data)
        started.append(dev)
        return dev.start()

    yield start
    for dev in started:
        dev.close()
