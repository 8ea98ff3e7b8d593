"""What people might write to get a scene: one thing, two things and where they are, or nothing but a background."""

from __future__ import annotations

import numpy as np

from .drawings import OBJECTS
from .scenes import HUES, Scene, Thing
from .words import DESCRIPTIONS, SYNONYMS, TRANSLATIONS, general_words

STYLE_PHRASES = {
    "twemoji": ("in twemoji style", "twemoji emoji", "in the style of twemoji", "twemoji style"),
    "fluent": ("in fluent style", "fluent emoji", "in the style of fluent", "fluent style"),
    "gray": ("in gray style", "gray emoji", "in the gray style", "gray style"),
    "contrast": ("in contrast style", "high contrast emoji", "in the contrast style", "in high contrast style"),
    "crayon": ("in crayon style", "crayon emoji", "in the crayon style", "crayon style"),
}
OPENINGS = (
    "",
    "",
    "",
    "",
    "a picture of ",
    "a drawing of ",
    "an emoji of ",
    "an image of ",
    "a photo of ",
    "an icon of ",
    "an illustration of ",
)
ADJECTIVES = (
    "cute",
    "beautiful",
    "nice",
    "lovely",
    "simple",
    "happy",
    "old",
    "young",
    "little",
    "pretty",
    "colorful",
    "bright",
    "single",
    "friendly",
)
CONTEXTS = (
    "on a plain background",
    "for a sticker",
    "for my website",
    "with soft colors",
    "on its own",
    "seen up close",
    "for a children's book",
    "on a postcard",
)
SIZE_WORDS = {"small": ("small", "tiny"), "medium": ("medium-sized",), "large": ("large", "big")}

# {0} and {1} are the things of a scene: left and right, or above and below. The first list says which is where.
ORDERED = {
    "across": (
        "{0} on the left and {1} on the right",
        "{1} on the right and {0} on the left",
        "{0} on the left, {1} on the right",
        "{0} on the left with {1} on the right",
        "{0} to the left of {1}",
        "{1} to the right of {0}",
        "{0} left of {1}",
        "{1} right of {0}",
    ),
    "stacked": (
        "{0} at the top and {1} at the bottom",
        "{1} at the bottom and {0} at the top",
        "{0} at the top, {1} at the bottom",
        "{0} above {1}",
        "{1} below {0}",
        "{0} over {1}",
        "{1} under {0}",
        "{1} beneath {0}",
    ),
}
UNORDERED = {
    "across": ("{0} and {1}", "{0} and {1}", "{0} with {1}", "{0} next to {1}", "{0} beside {1}", "{0} near {1}"),
    "stacked": ("{0} and {1}", "{0} and {1}", "{0} with {1}", "{0} near {1}"),
}
WITHOUT_OBJECT = (
    "a plain background",
    "an empty picture",
    "nothing",
    "a background",
    "only a background",
    "an empty background",
    "a blank picture",
    "a picture",
    "a drawing",
    "an image",
    "a photo",
    "an illustration",
    "{unknown}",
    "a {unknown}",
    "a {unknown}",
)
"""``{unknown}`` becomes one or two words that the text encoder does not know, which name no object either."""

UNKNOWN_WORD = "\N{SNOWMAN}"  # a token no other caption uses

# Chances of the kinds of words that stand for an object; the usual ones have the rest.
SYNONYM, TRANSLATION, DESCRIPTION, ANY_OF_SEVERAL = 0.05, 0.07, 0.05, 0.05


def _choose(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[rng.integers(len(options))]


def caption(rng: np.random.Generator, scene: Scene) -> str:
    """One of the many ways a person might describe `scene`; any part but the object may be left out."""
    extras: list[str] = []
    if not scene.things:
        text = _nothing(rng)
    elif len(scene.things) == 1:
        text = _single(rng, scene.things[0])
        if rng.random() < 0.3:
            extras.append(_position(scene.things[0], rng))
    else:
        text = _pair(rng, scene)
    if rng.random() < 0.2:
        extras.append(f"on a {scene.hue} background")
    elif rng.random() < 0.15:
        extras.append(_choose(rng, CONTEXTS))
    if rng.random() < (0.65 if scene.things else 0.35):
        phrase = _choose(rng, STYLE_PHRASES[scene.style][:1] if rng.random() < 0.5 else STYLE_PHRASES[scene.style])
        if phrase.startswith("in "):
            extras.insert(rng.integers(len(extras) + 1), phrase)
        else:
            extras.append(f", {phrase}")
    opening = _choose(rng, OPENINGS) if scene.things else ""
    text = " ".join(" ".join([opening + text, *extras]).split()).replace(" ,", ",")
    draw = rng.random()
    return text.capitalize() if draw < 0.1 else text + "." if draw < 0.2 else text


def _nothing(rng: np.random.Generator) -> str:
    unknown = " ".join([UNKNOWN_WORD] * int(rng.integers(1, 3)))
    return _choose(rng, WITHOUT_OBJECT).format(unknown=unknown)


def _single(rng: np.random.Generator, thing: Thing) -> str:
    words = []
    if rng.random() < 0.3:
        words.append(SIZE_WORDS[thing.size][0 if rng.random() < 0.6 else -1])
    if rng.random() < 0.25:
        words.append(_choose(rng, ADJECTIVES))
    return _named(rng, thing, words)


def _pair(rng: np.random.Generator, scene: Scene) -> str:
    names = [_named(rng, thing, [_choose(rng, ADJECTIVES)] if rng.random() < 0.1 else []) for thing in scene.things]
    if rng.random() < 0.5:
        return _choose(rng, ORDERED[scene.arrangement]).format(*names)
    return _choose(rng, UNORDERED[scene.arrangement]).format(*(names if rng.random() < 0.5 else names[::-1]))


def _named(rng: np.random.Generator, thing: Thing, words: list[str]) -> str:
    """The thing with an article, by one of its names; `words` are put before it."""
    kind = rng.random() - SYNONYM
    _, names = OBJECTS[thing.object]
    name = names[0] if rng.random() < 0.5 else _choose(rng, names)
    if kind < 0:
        name = _choose(rng, SYNONYMS.get(thing.object, names))
    elif (kind := kind - TRANSLATION) < 0:
        name = _choose(rng, TRANSLATIONS[thing.object])
    elif (kind := kind - DESCRIPTION) < 0:
        return _choose(rng, DESCRIPTIONS[thing.object])
    elif kind - ANY_OF_SEVERAL < 0:
        return _choose(rng, general_words(thing.object))
    phrase = " ".join([*words, name])
    article = str(rng.choice(["a", "the", "my", "one", ""], p=[0.72, 0.1, 0.06, 0.04, 0.08]))
    return f"{with_article(phrase) if article == 'a' else f'{article} {phrase}'}".strip()


def with_article(phrase: str) -> str:
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def _position(thing: Thing, rng: np.random.Generator) -> str:
    if not thing.horizontal and not thing.vertical:
        return ("in the center", "in the middle")[rng.integers(2)]
    if thing.horizontal and thing.vertical:
        return f"in the {thing.vertical} {thing.horizontal} corner"
    if thing.horizontal:
        return f"on the {thing.horizontal}"
    return f"at the {thing.vertical}"


def caption_words() -> list[str]:
    """Every word and phrase that captions are made of, without the unknown ones."""
    words = [name for _, names in OBJECTS.values() for name in names]
    for table in (SYNONYMS, TRANSLATIONS, DESCRIPTIONS, STYLE_PHRASES, SIZE_WORDS, ORDERED, UNORDERED):
        words += [phrase for phrases in table.values() for phrase in phrases]
    words += [word for name in OBJECTS for word in general_words(name)]
    words += [*OPENINGS, *ADJECTIVES, *CONTEXTS, *HUES, *WITHOUT_OBJECT]
    words += ["a", "an", "the", "my", "one", "in", "on", "at", ",", ".", "background"]
    words += ["center", "middle", "left", "right", "top", "bottom", "corner"]
    return [word.replace("{0}", " ").replace("{1}", " ").replace("{unknown}", " ") for word in words]
