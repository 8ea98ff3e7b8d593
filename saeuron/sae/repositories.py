"""Repositories on the Hugging Face hub with SAEs that this pack reads, and where their files belong."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from .layouts import SDXL_UNBOX, SPARSIFY, Layout

HUB = "https://huggingface.co"


class Repository(NamedTuple):
    """Folders of one layout. Which there are is asked of the hub (``python -m saeuron download``)."""

    name: str
    layout: Layout
    base_model: str
    folders: str
    """A regular expression that an SAE's folder there matches."""

    def publishes(self, sae: PurePosixPath) -> bool:
        """Whether a folder of that name is one of its SAEs."""
        return bool(re.fullmatch(self.folders, sae.parts[0] if sae.parts else ""))


REPOSITORIES = (
    Repository("wendlerc/sdxl-turbo-saes", SDXL_UNBOX, "SDXL-Turbo", r"unet\.[\w.]+_k160_hidden5120_.+"),
    Repository("surokpro2/sdxl-saes", SDXL_UNBOX, "SDXL-Turbo", r"unet\.[\w.]+_k\d+_hidden\d+_.+"),
    Repository("bcywinski/SAeUron", SPARSIFY, "SD 1.5", r".*unet\.up_blocks\.1\.attentions\.[12].*"),
)


def address(repository: str, file: str) -> str:
    """Where `file` of a repository on the hub is downloaded."""
    return f"{HUB}/{repository}/resolve/main/{file}"


def address_of_sae(weights: str) -> str:
    """Where the weights of a published SAE are downloaded, `weights` as Load SAE lists them.

    Errors: ValueError if nobody is known to publish it.
    """
    path = PurePosixPath(weights)
    for repository in REPOSITORIES:
        if path.name == repository.layout.weights and repository.publishes(path.parent):
            return address(repository.name, weights)
    raise ValueError(f"Nobody is known to publish {weights}.")


def where_to_get(name: str, folder: str) -> str:
    """What to do if the SAE `name` is not in the model folder `folder`; empty if nobody is known to publish it.

    `name` is what a workflow has, so it may name one of the files and may come from Windows.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    for repository in REPOSITORIES:
        parts = (repository.layout.config, repository.layout.weights)
        sae = path.parent if path.name in parts else path
        if repository.publishes(sae):
            files = " and ".join(str(sae / part) for part in parts)
            return (
                f"It is published in the repository {repository.name} on Hugging Face: put its files {files} into "
                f"{folder}, with their folders, or run `python -m saeuron download {repository.name} {sae}` in the "
                "pack's folder."
            )
    return ""
