"""CPython's own tests of sockets and event loops pass unchanged with the object preloaded, retries on, delays
short. They try hundreds of refusals, time-outs, closes and cancellations."""

import re

import pytest

from harness import run

PYTHON = "/usr/bin/python3"
MODULES = [
    "test_epoll", "test_select", "test_asyncore", "test_asyncio.test_events",
    "test_asyncio.test_streams", "test_asyncio.test_sock_lowlevel", "test_asyncio.test_selector_events", "test_asyncio.test_server",
]


@pytest.mark.parametrize("module", MODULES)
def test_passes_unchanged(module):
    results = [run([PYTHON, "-m", "test", "-v", module], shim=shim, timeout=170, base_delay_ms=5, diag=None, diag_file=None)
               for shim in (False, True)]
    for result in results:
        assert result.returncode == 0 and b"SUCCESS" in result.stdout, result.stdout.decode()[-4000:]
    ran = [re.findall(rb"Ran (\d+) tests?", result.stdout) for result in results]
    assert ran[0] == ran[1] and int(ran[0][0]) > 0
