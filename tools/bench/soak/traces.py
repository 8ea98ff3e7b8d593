"""Many prompts on one server that put edits on the model in every way; the plain picture must stay what it was."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from statistics import linear_regression
from typing import Any

from saeuron.sae.hookpoints import SDXL_UNBOX
from tools.bench.soak.outcome import Outcome
from tools.host.events import Event
from tools.host.server import ComfyServer, Interrupted

Graph = dict[str, dict[str, Any]]
Output = list[Any]
"""[node id, number of the output], as prompts write it."""

HOOKPOINTS = SDXL_UNBOX[::-1]  # the one that feature sets are shipped for comes first
SEEDS = (1, 2, 3)
STEPS = 2
SIDE = 128  # pixels
WARM_UP = 0.25  # of the prompts, after which the server's memory should no longer grow
MOST_GROWTH = 64.0  # KiB a prompt; one forgotten clone with its wrappers and codes would be more

# Each takes a graph and gives the MODEL to sample.
Edit = Callable[[Graph, random.Random], Output]


def add(graph: Graph, class_type: str, **inputs: Any) -> Output:
    """A node more in `graph`; its first output."""
    id_ = str(len(graph) + 1)
    graph[id_] = {"class_type": class_type, "inputs": inputs}
    return [id_, 0]


def load_sae(graph: Graph, hookpoint: str) -> Output:
    chosen = dict.fromkeys(("hookpoint", "kind", "base_model"), "from file")
    return add(graph, "SaeuronLoadSAE", sae_name=f"miniature-{hookpoint}.safetensors", **chosen)


def unlearn(graph: Graph, model: Output, sae: Output, features: Output, multiplier: float, rule: str) -> Output:
    settings = {"mode": "exact", "rule": rule, "start_percent": 0.0, "end_percent": 1.0, "halves": "both"}
    wires = {"model": model, "sae": sae, "feature_set": features}
    return add(graph, "SaeuronUnlearn", **wires, multiplier=multiplier, **settings)


def edited(graph: Graph, random_: random.Random) -> Output:
    """Unlearn with a shipped feature set."""
    name = random_.choice(("cats", "towers", "style-crayon"))
    features = add(graph, "SaeuronLoadFeatureSet", feature_set_name=f"miniature/{name}.json", json="")
    return unlearn(graph, ["1", 0], load_sae(graph, HOOKPOINTS[0]), features, random_.uniform(-60, -5), "gamma-mu")


def edited_elsewhere(graph: Graph, random_: random.Random, model: Sequence[Any] = ("1", 0)) -> Output:
    """Unlearn at any hookpoint, with features by their numbers."""
    sae = load_sae(graph, random_.choice(HOOKPOINTS))
    indices = ", ".join(map(str, random_.sample(range(512), 20)))
    features = add(graph, "SaeuronFeaturesByIndex", sae=sae, indices=indices, concept="soak")
    return unlearn(graph, list(model), sae, features, random_.uniform(-3, 0.5), "gamma")


def chained(graph: Graph, random_: random.Random) -> Output:
    """Two Unlearn and a Steer Features."""
    model = edited_elsewhere(graph, random_, edited(graph, random_))
    sae = load_sae(graph, random_.choice(HOOKPOINTS))
    acts = {"start_percent": 0.0, "end_percent": 1.0, "halves": "both"}
    strengths = f"{random_.randrange(512)}: {random_.uniform(-2, 2):.3f}"
    return add(graph, "SaeuronSteerFeatures", model=model, sae=sae, strengths=strengths, **acts)


def off(_graph: Graph, _random: random.Random) -> Output:
    """No node at all; a bypassed one gives the same prompt."""
    return ["1", 0]


def neutral(graph: Graph, _random: random.Random) -> Output:
    """Unlearn with a multiplier that changes nothing."""
    features = add(graph, "SaeuronLoadFeatureSet", feature_set_name="miniature/cats.json", json="")
    return unlearn(graph, ["1", 0], load_sae(graph, HOOKPOINTS[0]), features, 1.0, "gamma")


EDITS: tuple[Edit, ...] = (edited, edited_elsewhere, chained)
PLAIN: tuple[Edit, ...] = (off, off, neutral)


def drawing(edit: Edit, random_: random.Random, seed: int) -> Graph:
    """The prompt of one picture."""
    graph: Graph = {}
    add(graph, "SaeuronLoadMiniature")
    text = add(graph, "CLIPTextEncode", text="a cat in twemoji style", clip=["1", 1])
    latent = add(graph, "EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    run = {"seed": seed, "steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "sgm_uniform"}
    ends = {"positive": text, "negative": text, "latent_image": latent, "denoise": 1.0}
    samples = add(graph, "KSampler", model=edit(graph, random_), **ends, **run)
    picture = add(graph, "VAEDecode", samples=samples, vae=["1", 2])
    add(graph, "PreviewImage", images=picture)
    return graph


def draw(server: ComfyServer, graph: Graph) -> str:
    """A digest of the picture's pixels."""
    # Loaders show pictures, too.
    (preview,) = [id_ for id_, node in graph.items() if node["class_type"] == "PreviewImage"]
    (entry,) = server.run(graph)[preview]["images"]
    return hashlib.sha256(server.image(entry).tobytes()).hexdigest()


def interrupt(server: ComfyServer, graph: Graph) -> str:
    """Interrupt `graph` after its first step; how it failed, or nothing."""
    sampler = next(id_ for id_, node in graph.items() if node["class_type"] == "KSampler")

    def after_the_first_step(event: Event) -> None:
        if event.type == "progress" and event.data["node"] == sampler and event.data["value"] == 1:
            server.interrupt()

    record = server.record(graph, after_the_first_step)
    try:
        server.wait(record.prompt_id)
    except Interrupted:
        return ""
    return "an interrupted prompt ran to its end"


def leave_no_trace(server: ComfyServer, prompts: int, seed: int = 0) -> Outcome:
    """Every second of `prompts` prompts has an edit, one in four of these is interrupted; the others are plain.

    The host keeps the outputs of the prompt before only, so the plain ones are drawn anew every time, on the model
    that the edited ones have used.
    """
    random_, outcome = random.Random(seed), Outcome()
    first = {number: draw(server, drawing(off, random_, number)) for number in SEEDS}
    sizes: list[int] = []
    changed: list[bool] = []
    for number, failure in enumerate(_cases(server, random_, first, prompts, changed)):
        outcome.count(failure and f"prompt {number}: {failure}")
        server.request("/history", {"clear": True})  # the host keeps it for ever, which is not what is measured
        sizes.append(server.resident_bytes())
    if sum(changed) < len(changed) / 2:  # what features do not fire on stays the same
        outcome.failures.append(f"only {sum(changed)} of {len(changed)} edits changed the picture")
    slope = kib_per_prompt(sizes[int(len(sizes) * WARM_UP) :])
    outcome.memory = f"{slope:+.1f} KiB a prompt, {sizes[0] >> 20} to {sizes[-1] >> 20} MiB"
    if prompts >= 100 and slope > MOST_GROWTH:  # fewer tell nothing of a slope
        outcome.failures.append(f"the server grows: {outcome.memory}")
    return outcome


def _cases(
    server: ComfyServer, random_: random.Random, first: dict[int, str], prompts: int, changed: list[bool]
) -> Iterator[str]:
    """How each prompt failed, or nothing, as they are run; `changed` gets whether each edit changed the picture."""
    for number in range(prompts):
        seed = random_.choice(SEEDS)
        if number % 2:
            edit = random_.choice(PLAIN)
            same = draw(server, drawing(edit, random_, seed)) == first[seed]
            yield "" if same else f"the plain picture of seed {seed} ({edit.__name__}) has changed"
        elif number % 8 == 4:
            yield interrupt(server, drawing(random_.choice(EDITS), random_, seed))
        else:
            changed.append(draw(server, drawing(random_.choice(EDITS), random_, seed)) != first[seed])
            yield ""


def kib_per_prompt(sizes: Sequence[int]) -> float:
    """Slope of a line through memory sizes in bytes, by least squares; 0 for fewer than two."""
    return linear_regression(range(len(sizes)), sizes).slope / 1024 if len(sizes) > 1 else 0.0
