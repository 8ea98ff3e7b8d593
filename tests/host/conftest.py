"""These tests run against the host's own modules, in this process, on the CPU."""

from support.host_process import *  # noqa: F403 - its fixtures
