"""Train SAE in a process of its own: ``python -m support.training_node FOLDER NAME``.

FOLDER has what lasts longer than the process: the host's user folder and models. It prints the step it is at, and at
the end the text that the node shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import host_process  # noqa: F401 - the host is importable from here on

STEPS = 40


def main(folder: Path, name: str) -> None:
    import comfy.utils
    import folder_paths
    import torch

    from tools.pack import pack

    pack()
    folder_paths.set_user_directory(str(folder / "user"))
    folder_paths.folder_names_and_paths["saes"][0].insert(0, str(folder / "saes"))
    for throttle in ("PROGRESS_THROTTLE_MIN_INTERVAL", "PROGRESS_THROTTLE_MIN_PERCENT"):
        setattr(comfy.utils, throttle, 0)
    # The bar of the training, not those of drawing, which are of other lengths.
    comfy.utils.PROGRESS_BAR_HOOK = lambda value, total, *_, **__: total == STEPS and print(value, flush=True)
    with torch.inference_mode():
        model, clip, _ = pack("nodes.load").SaeuronLoadMiniature.execute().result
        shown = pack("nodes.train").SaeuronTrainSAE.execute(
            model, clip, name, hookpoint="up_blocks.0.attentions.1", kind="update", prompts="a cat\na tower",
            expansion=1, k=4, activation="batchtopk", training_steps=STEPS, batch_tokens=48, pictures=12, held_out=6,
            labelled=False, seed=3, sampler_name="euler", scheduler="sgm_uniform", steps=2, cfg=1.0,
            width=64, height=64,
        )  # fmt: skip
    print(shown.ui.as_dict()["text"][0], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
