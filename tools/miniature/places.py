"""Do a concept's features fire where the concept is? Measured on pictures of two things, each on its own half.

Of each object, features are chosen as for the shipped feature sets; then, on the pictures of two things that the judge
of halves finds right, it is counted how much of their activation lies on the object's half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saeuron.features.feature_set import FeatureSet
from saeuron.features.selection import SelectionSettings, select_features
from saeuron.features.statistics import ActivationStatistics
from saeuron.miniature.architecture import DECISIVE
from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.sae.files import LoadedSAE, load_sae
from saeuron.sae.model import SparseCodes

from .drawings import OBJECTS
from .judge import arrangement_found, load_judges, on_halves, pair_prompts
from .sample import euler, recorded, schedule
from .scenes import HALVES
from .text import tokenize
from .train_autoencoder import load_autoencoder
from .train_diffusion import Miniature, load_average
from .training import import_host, training_parser

PROMPTS = PROMPTS_FOLDER / "fit"
SETTINGS = SelectionSettings(tau=10, overlap=0.1)
BATCH = 100


@torch.inference_mode()
def draw_and_encode(
    model: Miniature, loaded: LoadedSAE, texts: list[str], steps: int, seed: int
) -> tuple[Tensor, list[SparseCodes]]:
    """Latents, and the codes [b, h, w, k] at every step."""
    with recorded(model, [loaded.identity.hookpoint]) as calls:
        latents = euler(model, tokenize(texts), steps, 1.0, seed)
    (updates,) = calls.values()
    return latents, [loaded.sae.encode(update) for update in updates]


def choose_features(model: Miniature, loaded: LoadedSAE, steps: int, seed: int) -> dict[str, FeatureSet]:
    _, sigmas = schedule(steps)
    statistics = {}
    for name in OBJECTS:
        lines = (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        texts = [line for line in lines if line and not line.startswith("#")]
        statistics[name] = ActivationStatistics(loaded.identity, sigmas[:-1], concept=name)
        _, codes = draw_and_encode(model, loaded, texts, steps, seed)
        for sigma, found in zip(sigmas, codes, strict=False):
            statistics[name].add(sigma, found)
    chosen = {}
    for name in OBJECTS:
        others = ActivationStatistics.merged([statistics[other] for other in OBJECTS if other != name])
        chosen[name] = select_features(statistics[name], others, SETTINGS)
    return chosen


@dataclass
class Counted:
    """Sums [2, 2, steps] a picture: of all activation and of what is above the usual level; on the half and in all."""

    sums: list[np.ndarray] = field(default_factory=list)

    def shares(self) -> dict[str, object]:
        plain, above = np.sum(self.sums, 0)
        return {
            "share": round(float(plain[0].sum() / plain[1].sum()), 3),
            "per_step": (plain[0] / plain[1].clip(1e-9)).round(3).tolist(),
            "share_above_mean": round(float(above[0].sum() / above[1].sum().clip(1e-9)), 3),
            "above_mean_per_step": (above[0] / above[1].clip(1e-9)).round(3).tolist(),
            "pictures": len(self.sums),
        }


def cut(maps: Tensor, half: str) -> Tensor:
    """The half of maps [..., h, w]."""
    rows, columns = maps.shape[-2] // 2, maps.shape[-1] // 2
    parts = {
        "left": maps[..., :columns],
        "right": maps[..., columns:],
        "top": maps[..., :rows, :],
        "bottom": maps[..., rows:, :],
    }
    return parts[half]


def sums(codes: list[SparseCodes], index: int, features: FeatureSet, half: str) -> np.ndarray:
    """What `Counted` keeps of one picture of a batch."""
    chosen = features.steps[0].features
    device = codes[0].values.device
    wanted = torch.tensor([feature.index for feature in chosen], device=device)
    level = torch.tensor([feature.mean_all for feature in chosen], device=device)
    maps = torch.stack([SparseCodes(c.values[index], c.indices[index]).of(wanted) for c in codes])  # [steps, h, w, m]
    both = torch.stack([maps, torch.where(maps > level, maps, 0)]).sum(-1)
    return torch.stack([cut(both, half).sum((-2, -1)), both.sum((-2, -1))], 1).double().cpu().numpy()


def measure(
    work: Path, folder: Path, classifiers: Path, hookpoint: str, count: int, seed: int, device: torch.device
) -> None:
    steps = 8
    model, _ = load_average(work, device)
    autoencoder, judges = load_autoencoder(work, device), load_judges(classifiers, device)
    loaded = load_sae(folder / f"miniature-{hookpoint}.safetensors")
    loaded.sae.to(device)
    feature_sets = choose_features(model, loaded, steps, seed)
    groups = {name: Counted() for name in ("all", "side named", "no side named")}
    each = {name: Counted() for name in OBJECTS}
    prompts = pair_prompts(count, seed + 1)
    for start in range(0, count, BATCH):
        part = prompts[start : start + BATCH]
        latents, codes = draw_and_encode(model, loaded, [p.text for p in part], steps, seed + 1000 + start)
        with torch.inference_mode():
            decoded = autoencoder.taesd_decoder(latents).clamp(0, 1).mul(255).round().permute(0, 2, 3, 1).byte()
        for index, seen in enumerate(on_halves(judges["halves"], decoded.cpu().numpy())):
            prompt = part[index]
            if (found := arrangement_found(seen, prompt.objects)) is None:
                continue
            sides = HALVES[found[0]] if found[1] else HALVES[found[0]][::-1]
            group = "side named" if prompt.arrangement else "no side named"
            for name, half in zip(prompt.objects, sides, strict=True):
                counts = sums(codes, index, feature_sets[name], half)
                for counted in (groups["all"], groups[group], each[name]):
                    counted.sums.append(counts)
    figures = {
        "hookpoint": hookpoint,
        **{name: counted.shares() for name, counted in groups.items() if counted.sums},
        "objects": {name: counted.shares()["share"] for name, counted in each.items() if counted.sums},
    }
    print(json.dumps(figures), flush=True)
    (work / f"places-{hookpoint}.json").write_text(json.dumps(figures, indent=2) + "\n")


def main() -> None:
    parser = training_parser(__doc__, seed=0)
    parser.add_argument("--saes", type=Path, default=Path("saeuron/miniature/saes"))
    parser.add_argument("--classifiers", type=Path, default=Path("saeuron/miniature/classifiers"))
    parser.add_argument("--hookpoint", default=DECISIVE["objects"])
    parser.add_argument("--pictures", type=int, default=400)
    a = parser.parse_args()
    import_host()
    measure(a.work, a.saes, a.classifiers, a.hookpoint, a.pictures, a.seed, a.device)


if __name__ == "__main__":
    main()
