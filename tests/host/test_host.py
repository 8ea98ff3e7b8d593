"""The host itself is the one that the tests mean."""

from __future__ import annotations

from pathlib import Path

import torch

from tools.host.unpack import host_path, host_version


def test_modules_are_the_hosts_and_run_on_the_cpu():
    import comfy.model_management
    import nodes

    assert Path(nodes.__file__).resolve().parent == host_path().resolve()
    assert comfy.model_management.get_torch_device() == torch.device("cpu")


def test_version_is_one_that_the_pack_supports():
    version = host_version(host_path())
    assert version is not None
    assert tuple(map(int, version.split(".")[:3])) >= (0, 3, 75)


def test_the_host_writes_to_folders_of_the_tests():
    import folder_paths

    for folder in (folder_paths.get_output_directory(), folder_paths.get_temp_directory(), folder_paths.models_dir):
        assert not Path(folder).resolve().is_relative_to(host_path().resolve()), folder
