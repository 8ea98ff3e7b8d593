"""Other words for the objects: other English ones, other languages', descriptions, and general ones for several.

Captions use each kind in a few percent, so that they are really learnt: an intervention found with the usual words can
then be tried on these.
"""

from __future__ import annotations

from .drawings import OBJECTS

SYNONYMS: dict[str, tuple[str, ...]] = {
    "architectures": ("fortress", "palace"),
    "bears": ("grizzly",),
    "birds": ("songbird", "birdie"),
    "cats": ("kitty", "feline"),
    "dogs": ("hound", "doggy"),
    "fishes": ("goldfish",),
    "flame": ("blaze", "bonfire"),
    "flowers": ("blossom", "bloom"),
    "frogs": ("bullfrog",),
    "horses": ("stallion", "mare"),
    "human": ("guy", "gentleman"),
    "rabbits": ("hare",),
    "sandwiches": ("toastie",),
    "sea": ("surf", "tide"),
    "statues": ("monolith", "idol"),
    "towers": ("spire", "steeple"),
    "trees": ("oak", "maple"),
    "waterfalls": ("cataract", "rapids"),
}

# German, French, Spanish.
TRANSLATIONS: dict[str, tuple[str, str, str]] = {
    "architectures": ("Schloss", "château", "castillo"),
    "bears": ("Bär", "ours", "oso"),
    "birds": ("Vogel", "oiseau", "pájaro"),
    "butterfly": ("Schmetterling", "papillon", "mariposa"),
    "cats": ("Katze", "chat", "gato"),
    "dogs": ("Hund", "chien", "perro"),
    "fishes": ("Fisch", "poisson", "pez"),
    "flame": ("Feuer", "feu", "fuego"),
    "flowers": ("Blume", "fleur", "flor"),
    "frogs": ("Frosch", "grenouille", "rana"),
    "horses": ("Pferd", "cheval", "caballo"),
    "human": ("Mensch", "homme", "hombre"),
    "jellyfish": ("Qualle", "méduse", "medusa"),
    "rabbits": ("Hase", "lapin", "conejo"),
    "sandwiches": ("Butterbrot", "casse-croûte", "bocadillo"),
    "sea": ("Meer", "mer", "mar"),
    "statues": ("Standbild", "sculpture", "estatua"),
    "towers": ("Turm", "tour", "torre"),
    "trees": ("Baum", "arbre", "árbol"),
    "waterfalls": ("Wasserfall", "cascade", "cascada"),
}

DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "architectures": ("a place where a king lives",),
    "bears": ("an animal that growls",),
    "birds": ("an animal that sings",),
    "butterfly": ("an insect with colorful wings",),
    "cats": ("a pet that meows", "an animal that purrs"),
    "dogs": ("a pet that barks", "an animal that wags its tail"),
    "fishes": ("an animal with fins",),
    "flame": ("something that burns",),
    "flowers": ("a plant with petals",),
    "frogs": ("an animal that croaks",),
    "horses": ("an animal that gallops", "an animal that neighs"),
    "human": ("someone who talks",),
    "jellyfish": ("an animal that stings",),
    "rabbits": ("an animal that hops", "a pet with long ears"),
    "sandwiches": ("bread with ham and cheese",),
    "sea": ("a lot of salty water",),
    "statues": ("a face carved from rock",),
    "towers": ("something very tall with a view",),
    "trees": ("a plant with a trunk",),
    "waterfalls": ("water that falls down",),
}

ANIMALS = ("bears", "birds", "butterfly", "cats", "dogs", "fishes", "frogs", "horses", "jellyfish", "rabbits")
GENERAL: dict[str, tuple[str, ...]] = {
    "an animal": ANIMALS,
    "a creature": ANIMALS,
    "a pet": ("cats", "dogs", "rabbits"),
    "a plant": ("flowers", "trees"),
    "a landmark": ("architectures", "statues", "towers"),
    "some water": ("sea", "waterfalls"),
    "a thing": tuple(OBJECTS),
    "an object": tuple(OBJECTS),
    "something": tuple(OBJECTS),
}
"""A general word, with its article, and what it may stand for."""


def general_words(object_name: str) -> list[str]:
    """The general words that may stand for `object_name`."""
    return [word for word, meant in GENERAL.items() if object_name in meant]
