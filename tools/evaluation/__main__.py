"""``make evaluate``: the whole benchmark on the miniature, with its controls, into docs/results.

It can be stopped and started again; ``--quick`` is a small one for checking that everything works.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from saeuron.evaluation.benchmark import Concept, Figures, mean_over
from saeuron.miniature.architecture import DECISIVE
from tools.host.unpack import REPOSITORY
from tools.miniature.build_feature_sets import HOOKPOINT
from tools.miniature.drawings import OBJECTS
from tools.miniature.training import import_host

from . import attack_report, scenes
from .attack_plan import BUDGET, TINY, Budget
from .attacks import attack
from .instead import WAYS, instead_of
from .plan import ALL, FULL, OWN_SEED, PROBE_SEED, QUICK, SHORT, Scale, real_shots
from .report import write_report
from .rivals.nag import ALPHA, TAU
from .studio import STEPS, Studio, add_dtype
from .together import removed_together, seed_tables
from .treatments import BETA, MULTIPLIER, PHI, Bench

BOOTSTRAP_SEED = 0


def evaluate(bench: Bench, scale: Scale) -> dict[str, Any]:
    """The results as JSON values. Only seconds, and what is made of them, differ between two runs."""
    per_concept: dict[str, Any] = {}
    by_treatment: dict[tuple[str, str], list[Figures]] = {}
    multipliers: dict[str, float | None] = {}
    for concept in scale.concepts:
        rows = bench.rows(concept)
        per_concept[concept.name] = {
            name: {"multiplier": row.multiplier, **row.figures.as_dict(BOOTSTRAP_SEED)} for name, row in rows.items()
        }
        multipliers[concept.name] = rows["exact"].multiplier
        for name, row in rows.items():
            by_treatment.setdefault((concept.domain, name), []).append(row.figures)
        shown = ", ".join(f"{name} {row.figures.mean('ua'):.0%}" for name, row in rows.items())
        print(f"{concept.name}: {shown}", flush=True)
    summary: dict[str, dict[str, Any]] = {}
    for (domain, name), several in by_treatment.items():
        summary.setdefault(domain, {})[name] = {"concepts": len(several), **mean_over(several, BOOTSTRAP_SEED)}
    return {
        "summary": summary,
        "together": removed_together(bench, scale, multipliers),
        "seed_tables": seed_tables(bench) if scale.thorough else {},
        "realism_judge": bench.studio.realism_error(),
        "concepts": per_concept,
    }


def settings_of(scale: Scale, dtype: str) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "steps": STEPS,
        "cfg": 1.0,
        "sampler": "euler, sgm_uniform",
        "hookpoints": {**DECISIVE, "published": HOOKPOINT},
        "multipliers": scale.multipliers,
        "published_multipliers": scale.published_multipliers,
        "prompts": scale.prompts,
        "seeds_per_prompt": scale.seeds,
        "casteer": {"betas": scale.betas, "pairs": scale.pairs},
        "nag": {"phis": scale.phis, "tau": TAU, "alpha": ALPHA},
        "instead": {way: {concept.name: instead_of(concept, way) for concept in scale.concepts} for way in WAYS},
        "probe_styles": scale.probe_styles,
        "probe_seeds": scale.probe_seeds,
        "real_pictures": len(real_shots(scale)) + scale.backgrounds,
        "first_seeds": {"own": OWN_SEED, "probes": PROBE_SEED},
        "bootstrap_seed": BOOTSTRAP_SEED,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.evaluation", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="two concepts and few pictures, into output/evaluation")
    size.add_argument(
        "--short", action="store_true", help="all concepts, fewer rows and pictures, into docs/results/short"
    )
    size.add_argument("--attacks", action="store_true", help="attacks on six objects, half an hour, into docs/results")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "output" / "evaluation")
    parser.add_argument("--output", type=Path, help="docs/results, or output/evaluation if quick")
    parser.add_argument("--concepts", nargs="+", metavar="NAME", help="only these (cats, style-gray, ...)")
    add_dtype(parser)
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else SHORT if arguments.short else FULL
    if arguments.concepts:
        scale = _only(scale, arguments.concepts)
    results_folder = REPOSITORY / "docs" / "results"
    by_size = arguments.work if arguments.quick else results_folder / "short" if arguments.short else results_folder
    output = arguments.output or by_size
    import_host()
    if arguments.attacks or arguments.quick:
        budget, rows = (TINY, ("off", "replace")) if arguments.quick else (BUDGET, None)
        run_attacks(arguments.work, output, budget, arguments.dtype, rows)
    if arguments.attacks:
        return
    studio = Studio(arguments.work / "seen", scale, arguments.dtype)
    with torch.inference_mode():
        results = {"settings": settings_of(scale, arguments.dtype), **evaluate(Bench(studio, scale), scale)}
    write_report(output, results)
    print(f"drew {studio.drawn} pictures; wrote {output}/miniature.json, .md and .png", flush=True)
    if arguments.quick:
        scenes.run(arguments.work, output, arguments.dtype, *scenes.QUICK)
    elif not arguments.short:
        scenes.run(arguments.work, output, arguments.dtype, scenes.COUNT, list(OBJECTS))


def run_attacks(work: Path, output: Path, budget: Budget, dtype: str, rows: tuple[str, ...] | None = None) -> None:
    """Write attacks.json and attacks.md; `rows`: only these."""
    # A studio of its own, because gradients are not to be had of weights that were loaded in inference mode.
    studio = Studio(work / "seen", SHORT, dtype, clock=0)
    with torch.no_grad():
        results = attack(studio, budget, rows)
    settings = {
        "dtype": dtype,
        "steps": STEPS,
        "multiplier": MULTIPLIER,
        "beta": BETA,
        "phi": PHI,
        "budget": asdict(budget),
    }
    attack_report.write(output, results, budget, settings)
    print(f"drew {studio.drawn} pictures; wrote {output}/attacks.json and .md", flush=True)


def _only(scale: Scale, names: list[str]) -> Scale:
    known: dict[str, Concept] = {concept.name: concept for concept in ALL}
    if unknown := set(names) - set(known):
        raise SystemExit(f"Unknown concepts: {', '.join(sorted(unknown))}. There are: {', '.join(known)}.")
    return replace(scale, concepts=tuple(known[name] for name in names))


if __name__ == "__main__":
    main()
