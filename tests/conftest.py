"""The harness serves the tests of every folder."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "programs"))

# A shell's background job ignores SIGINT, and so would every program that is started from here: a handler of
# ours becomes the default action when they are executed.
signal.signal(signal.SIGINT, signal.default_int_handler)
