"""What is done while pictures are drawn: edits on the MODEL, guidance, and what becomes of the prompts."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from saeuron.shots import Shot
from tools.miniature.build_feature_sets import load_sae
from tools.pack import pack

Parts = tuple[Any, Any, Any]
"""MODEL, CLIP and VAE of the miniature."""


@dataclass(frozen=True)
class Edit:
    """One change of a MODEL."""

    key: Mapping[str, Any]
    """Everything that the pictures depend on, as JSON values; what was kept under the same key is used again."""

    on: Callable[[Parts], Any]
    """A changed clone of the MODEL. Called only where pictures are drawn, so it may load what it needs."""


@dataclass(frozen=True)
class Treatment:
    """Any number of edits, one after the other; a negative prompt; and the prompts as somebody would rewrite them."""

    edits: tuple[Edit, ...] = ()
    cfg: float = 1.0
    negative: str = ""
    rewrite: Callable[[str], str] | None = None
    """A prompt as it is drawn; None: as it was asked for."""

    def key(self) -> dict[str, Any]:
        """What the pictures of given shots depend on. Rewritten prompts are part of the shots' key."""
        return {"edits": [dict(edit.key) for edit in self.edits], "cfg": self.cfg, "not": self.negative}

    def model(self, parts: Parts) -> Any:
        """The MODEL with all edits on it."""
        model, clip, vae = parts
        for edit in self.edits:
            model = edit.on((model, clip, vae))
        return model

    def shots(self, shots: Sequence[Shot]) -> list[Shot]:
        """What is drawn for `shots`: the same seeds."""
        if self.rewrite is None:
            return list(shots)
        return [Shot(self.rewrite(shot.prompt), shot.seed) for shot in shots]


OFF = Treatment()


def unlearn(feature_set: Any, multiplier: float, mode: str = "exact", rule: str = "gamma-mu") -> Edit:
    """Unlearn's edit. The feature set names its SAE."""

    def on(parts: Parts) -> Any:
        patching, find_site = pack("nodes.host.model"), pack("nodes.host.unet").find_site
        intervention = pack("saeuron.edits.intervention").Intervention(feature_set, multiplier, mode, rule)
        sae = sae_at(feature_set.sae.hookpoint)
        return patching.add_patch(parts[0], patching.Patch(find_site(parts[0], sae.identity), sae, intervention))

    return Edit({"unlearn": digest_of(feature_set), "multiplier": multiplier, "mode": mode, "rule": rule}, on)


@cache
def sae_at(hookpoint: str) -> Any:
    """The miniature's, loaded once."""
    return load_sae(hookpoint)


def replace(feature_set: Any, concept: str, instead: str, place: str = "sae", look_first: bool = False) -> Edit:
    """Replace Concept's edit with the node's defaults (for a style as Forget has it), and the two texts. The feature
    set names its SAE.
    """
    style = pack("saeuron.features.forgetting").is_style(concept)

    def on(parts: Parts) -> Any:
        model, clip, _ = parts
        patching, replacing = pack("nodes.host.model"), pack("nodes.host.replacing")
        encoded = {text: clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (concept, instead)}
        texts = [pack("nodes.host.encoding").text_of(encoded[text], text, model) for text in (concept, instead)]
        sae = sae_at(feature_set.sae.hookpoint)
        site = pack("nodes.host.unet").find_site(model, sae.identity)
        edits = pack("saeuron.edits.replace")
        if style:
            replacement = edits.replacing_style(feature_set)
        else:
            replacement = edits.Replacement(feature_set, place=place, look_first=look_first)
        return patching.add_replacement(model, replacing.ReplacementPatch(site, sae, replacement, *texts))

    factor = pack("saeuron.edits.replace").PICTURE_FACTOR
    key = {"replace": digest_of(feature_set), "concept": concept, "instead": instead, "from_picture": factor}
    return Edit({**key, "place": "everywhere" if style else place, **_looking(look_first)}, on)


def forget(hookpoint: str, concept: str, look_first: bool = False) -> Edit:
    """The node Forget with the word alone. What it finds is kept where the host's models lie."""

    def on(parts: Parts) -> Any:
        node = pack("nodes.forget").SaeuronForget
        return node.execute(parts[0], parts[1], sae_at(hookpoint), concept, 100.0, look_first).result[0]

    edits, sae = pack("saeuron.edits.replace"), sae_at(hookpoint).identity.describe()
    key = {"forget": concept, "instead": pack("nodes.forget").NOTHING, "sae": sae}
    return Edit({**key, "from_picture": edits.PICTURE_FACTOR, **_looking(look_first)}, on)


def _looking(look_first: bool) -> dict[str, Any]:
    """What of it pictures depend on."""
    return {"look_first": True, "margin": pack("saeuron.edits.replace").MARGIN} if look_first else {}


def unlearning(feature_sets: Sequence[Any], multipliers: Sequence[float], mode: str = "exact") -> Treatment:
    """Unlearn nodes in a chain."""
    return Treatment(tuple(unlearn(s, m, mode) for s, m in zip(feature_sets, multipliers, strict=True)))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(feature_set: Any) -> str:
    """Of all that an edit depends on: its picture is for people alone."""
    return digest(dataclasses.replace(feature_set, picture=None).to_json())
