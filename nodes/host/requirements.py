"""What the pack uses of the host, in one place, checked before any of it is used.

A host that lacks one of these is told by name, instead of failing somewhere in the middle of a run.
"""

from __future__ import annotations

import importlib

FLOOR = "0.3.75"
"""The oldest ComfyUI that the tests have passed with: everything in `USED` was seen in it."""

NEWEST = "0.33.0"
"""The newest one: everything in `USED` and `NEWER` was seen in it."""

# Module -> attributes; a dot leads into a class.
USED: dict[str, tuple[str, ...]] = {
    "comfy.cli_args": ("args.extra_model_paths_config",),
    "comfy.clip_vision": ("ClipVisionModel",),
    "comfy.conds": ("CONDRegular",),
    "comfy.latent_formats": ("SDXL",),
    "comfy.ldm.modules.attention": ("SpatialTransformer",),
    "comfy.ldm.modules.diffusionmodules.openaimodel": ("Downsample", "UNetModel", "Upsample"),
    "comfy.model_base": ("SDXL",),
    "comfy.model_management": (
        "get_torch_device",
        "intermediate_device",
        "load_models_gpu",
        "throw_exception_if_processing_interrupted",
        "unet_dtype",
        "unet_manual_cast",
        "unet_offload_device",
    ),
    "comfy.model_patcher": (
        "ModelPatcher.add_wrapper_with_key",
        "ModelPatcher.clone",
        "ModelPatcher.get_attachment",
        "ModelPatcher.get_model_object",
        "ModelPatcher.remove_wrappers_with_key",
        "ModelPatcher.set_additional_models",
        "ModelPatcher.set_attachments",
    ),
    "comfy.ops": ("manual_cast",),
    "comfy.patcher_extension": (
        "WrappersMP.APPLY_MODEL",
        "WrappersMP.OUTER_SAMPLE",
        "WrappersMP.PREDICT_NOISE",
        "WrappersMP.SAMPLER_SAMPLE",
    ),
    "comfy.sample": ("fix_empty_latent_channels", "prepare_noise", "sample_custom"),
    "comfy.samplers": ("KSampler.SAMPLERS", "KSampler.SCHEDULERS", "sampler_object"),
    "comfy.sd": ("CLIP", "VAE"),
    "comfy.sd1_clip": ("SD1ClipModel", "SD1Tokenizer", "SDClipModel", "SDTokenizer"),
    "comfy.supported_models": ("SDXL",),
    "comfy.supported_models_base": ("ClipTarget",),
    "comfy.utils": ("PROGRESS_BAR_ENABLED", "ProgressBar"),
    "comfy_api.v0_0_2": ("ComfyExtension", "io", "ui"),
    "folder_paths": (
        "__file__",
        "folder_names_and_paths",
        "get_filename_list",
        "get_folder_paths",
        "get_output_directory",
        "get_user_directory",
        "models_dir",
    ),
    "latent_preview": ("get_previewer",),
    "torch.library": ("custom_op",),
}

NEWER: dict[str, tuple[str, ...]] = {
    "comfy.model_patcher": ("CoreModelPatcher", "ModelPatcher.deepclone_multigpu"),
}
"""What is used only where the host has it: not in `FLOOR`, seen in `NEWEST`."""


def check_host() -> None:
    """Errors: `ImportError` naming what is missing, the host's version, and what to do."""
    missing, broken = _missing()
    if broken:
        raise ImportError(
            f"SAeUron can't use this ComfyUI {_version()}, because parts of it can't be imported: {'; '.join(broken)}. "
            "Install what ComfyUI's own requirements.txt lists, into the Python that runs it."
        )
    if missing:
        raise ImportError(
            f"SAeUron needs ComfyUI {FLOOR} or newer; this is {_version()} and lacks {', '.join(missing)}. "
            "Update ComfyUI, and torch with it; if it is newer than this pack, update the pack, too."
        )


def _missing() -> tuple[list[str], list[str]]:
    """What the host does not have, and which of its modules fail to import something of somebody else's."""
    missing, broken = [], []
    for module, names in USED.items():
        try:
            loaded = importlib.import_module(module)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                missing.append(module)
            else:
                broken.append(f"{module} ({error})")
            continue
        missing += [f"{module}.{name}" for name in names if not has(loaded, name)]
    return missing, broken


def has(owner: object, name: str) -> bool:
    """Whether `owner` has the attribute `name`; a dot leads into a class."""
    for part in name.split("."):
        owner = getattr(owner, part, _ABSENT)
    return owner is not _ABSENT


_ABSENT = object()


def _version() -> str:
    try:
        from comfyui_version import __version__
    except ImportError:
        return "of an unknown version"
    return str(__version__)
