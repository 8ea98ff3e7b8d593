"""ComfyUI-SAeUron: make a model forget a concept, with a slider. This file only tells ComfyUI what is here."""

from .nodes import comfy_entrypoint
from .nodes.host.folders import register_folders

WEB_DIRECTORY = "./web"

register_folders()

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
