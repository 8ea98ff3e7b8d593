"""Nodes and wires that several example workflows have."""

from __future__ import annotations

from tools.workflows.description import NOTE, From, Node

LOADERS_WIDTH, PICTURES_WIDTH = 420, 280

MODEL, CLIP, VAE = (From("model", output) for output in ("MODEL", "CLIP", "VAE"))
SAE = From("sae", "sae")
FEATURE_SET = From("features", "feature_set")

NEGATIVE = Node("negative", "CLIPTextEncode", {"clip": CLIP, "text": ""}, title="Negative (no use at cfg 1)", room=50)


def note(text: str, room: int) -> Node:
    return Node("note", NOTE, {"text": text}, title="What to do", room=room)


def picture(key: str, title: str, latent: From, vae: From) -> list[Node]:
    """Decode and show."""
    return [
        Node(f"decode_{key}", "VAEDecode", {"samples": latent, "vae": vae}),
        Node(key, "PreviewImage", {"images": From(f"decode_{key}", "IMAGE")}, title=title, room=280),
    ]


def prompt(text: str) -> Node:
    return Node("prompt", "CLIPTextEncode", {"clip": CLIP, "text": text}, title="Prompt", room=70)


def unlearn(
    rule: str,
    multiplier: float,
    key: str = "unlearn",
    model: From = MODEL,
    features: From = FEATURE_SET,
    title: str = "",
) -> Node:
    inputs = {"model": model, "sae": SAE, "feature_set": features, "multiplier": multiplier, "rule": rule}
    return Node(key, "SaeuronUnlearn", inputs, title=title, room=140)


def compare(before: From, after: From, after_label: str) -> Node:
    """Before and after in one picture."""
    inputs = {"before": before, "after": after, "before_label": "Before", "after_label": after_label}
    return Node("compare", "SaeuronCompare", inputs, room=230)
