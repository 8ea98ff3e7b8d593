"""What other people's own code writes and reads: run by a Python that has their packages, and knows nothing of ours.

``peers.py write FOLDER`` makes a folder for each kind of SAE, and what their code makes of the same tokens;
``peers.py read FOLDER`` does the second for SAEs that are there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

D, N, K = 16, 64, 4
HOOKPOINT = "unet.up_blocks.0.attentions.1"
MADE = "reconstructions.safetensors"


def tokens() -> torch.Tensor:
    return torch.randn(50, D, generator=torch.Generator().manual_seed(0)) + 0.3


def _with_random_weights(module: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        scale = 0.3 if parameter.ndim == 1 else parameter.shape[0] ** -0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
        if "threshold" in name:
            parameter.data.abs_()
    return module


def _write_sparsify(folder: Path) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    for name, config in {"sized": {"num_latents": N}, "expanded": {"expansion_factor": N // D}}.items():
        coder = SparseCoder(D, SparseCoderConfig(k=K, **config))
        _with_random_weights(coder).save_to_disk(folder / f"sparsify_{name}" / HOOKPOINT)


def _read_sparsify(folder: Path) -> torch.Tensor:
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(folder)
    encoded = coder.encode(tokens())
    return coder.decode(encoded.top_acts, encoded.top_indices)


def _write_saelens(folder: Path) -> None:
    import sae_lens as lens

    sizes = {"d_in": D, "d_sae": N}
    saes = {
        "topk": lens.TopKSAE(lens.TopKSAEConfig(k=K, **sizes)),
        "topk_rescaled": lens.TopKSAE(lens.TopKSAEConfig(k=K, rescale_acts_by_decoder_norm=True, **sizes)),
        "jumprelu": lens.JumpReLUSAE(lens.JumpReLUSAEConfig(**sizes)),
        "jumprelu_uncentred": lens.JumpReLUSAE(lens.JumpReLUSAEConfig(apply_b_dec_to_input=False, **sizes)),
        "standard": lens.StandardSAE(lens.StandardSAEConfig(**sizes)),
    }
    for name, sae in saes.items():
        _with_random_weights(sae).save_model(folder / f"saelens_{name}" / HOOKPOINT)
    trained = {
        "batchtopk": lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(k=K, **sizes)),
        "matryoshka": lens.MatryoshkaBatchTopKTrainingSAE(
            lens.MatryoshkaBatchTopKTrainingSAEConfig(k=K, matryoshka_widths=[N // 4], **sizes)
        ),
    }
    for name, sae in trained.items():
        _with_random_weights(sae).topk_threshold.fill_(0.4)
        sae.save_inference_model(folder / f"saelens_{name}" / HOOKPOINT)


def _read_saelens(folder: Path) -> torch.Tensor:
    from sae_lens import SAE

    sae: Any = SAE.load_from_disk(folder)
    return sae(tokens())


def _write_dictionary_learning(folder: Path) -> None:
    """A few steps of their own training, so that BatchTopK has learned a threshold."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer
    from dictionary_learning.training import trainSAE

    steps = 30
    common = {"steps": steps, "activation_dim": D, "dict_size": N, "layer": 0, "lm_name": "", "device": "cpu"}
    common |= {"submodule_name": HOOKPOINT, "warmup_steps": 2}
    batched = {"k": K, "threshold_start_step": 3, "threshold_beta": 0.5}
    trainers: dict[str, dict[str, Any]] = {
        "topk": {"trainer": TopKTrainer, **batched},
        "batchtopk": {"trainer": BatchTopKTrainer, **batched},
        "matryoshka": {"trainer": MatryoshkaBatchTopKTrainer, "group_fractions": [0.25, 0.75], **batched},
        "jumprelu": {"trainer": JumpReluTrainer, "sparsity_warmup_steps": 2},
        "standard": {"trainer": StandardTrainer, "sparsity_warmup_steps": 2},
    }

    def data() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(2)
        while True:
            yield torch.randn(64, D, generator=generator) + 0.3

    for name, own in trainers.items():
        trainSAE(data(), [{**common, **own}], steps, save_dir=str(folder / "training" / name), device="cpu")
        (folder / "training" / name / "trainer_0").rename(folder / f"dictionary_{name}")

    # None of their trainers makes this one.
    from dictionary_learning.dictionary import AutoEncoderNew

    new = folder / "dictionary_new"
    new.mkdir()
    torch.save(_with_random_weights(AutoEncoderNew(D, N)).state_dict(), new / "ae.pt")
    sizes = {"dict_class": "AutoEncoderNew", "activation_dim": D, "dict_size": N, "submodule_name": HOOKPOINT}
    (new / "config.json").write_text(json.dumps({"trainer": sizes}))


def _read_dictionary_learning(folder: Path) -> torch.Tensor:
    from dictionary_learning.utils import load_dictionary

    dictionary, _ = load_dictionary(str(folder), device="cpu")
    return dictionary(tokens())


# The file by which a folder's layout is told -> how it is read
_READERS: dict[str, Callable[[Path], torch.Tensor]] = {
    "sae.safetensors": _read_sparsify,
    "sae_weights.safetensors": _read_saelens,
    "ae.pt": _read_dictionary_learning,
}


def main(task: str, folder: Path) -> None:
    if task == "write":
        for write in (_write_sparsify, _write_saelens, _write_dictionary_learning):
            write(folder)
    made = {}
    with torch.no_grad():
        for name, read in _READERS.items():
            for file in folder.rglob(name):
                made[str(file.parent.relative_to(folder))] = read(file.parent).contiguous()
    save_file(made, folder / MADE)


def made_in(folder: Path) -> dict[str, torch.Tensor]:
    """Folder of an SAE -> what their code made of `tokens`."""
    return load_file(folder / MADE)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
