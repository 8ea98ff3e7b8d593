"""A real ComfyUI for the tests and the tools: unpacked, started, driven."""

from .unpack import HostError, host_path

__all__ = ["HostError", "host_path"]
