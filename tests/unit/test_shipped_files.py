"""What comes with the pack fits together."""

from __future__ import annotations

from pathlib import Path

from saeuron.features.feature_set import FeatureSet
from saeuron.features.statistics import ActivationStatistics
from saeuron.miniature.architecture import BASE_MODEL, DECISIVE
from saeuron.sae.files import load_sae

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "feature_sets" / "miniature"
LARGEST_PICTURE = 8 << 10  # bytes; there are fifty of them


def test_every_feature_set_of_the_miniature_belongs_to_an_sae_that_comes_with_it() -> None:
    saes = [load_sae(path).identity for path in (ROOT / "saeuron" / "miniature" / "saes").glob("*.safetensors")]
    hookpoints = set()
    for path in SHIPPED.rglob("*.json"):
        feature_set = FeatureSet.load(path)
        assert feature_set.sae in saes, path
        assert feature_set.has_means and feature_set.concept == path.stem, path
        hookpoints.add(feature_set.sae.hookpoint)
        statistics = ActivationStatistics.load(path.with_name("all_prompts.safetensors"))
        assert statistics.sae == feature_set.sae, path
    assert hookpoints == {"up_blocks.0.attentions.1", *DECISIVE.values()}


def test_every_sae_of_the_miniature_says_how_it_does() -> None:
    """So that Check SAE has something to compare with."""
    for path in (ROOT / "saeuron" / "miniature" / "saes").glob("*.safetensors"):
        figures = load_sae(path).figures
        assert figures is not None and figures.model == BASE_MODEL, path
        assert 0 < figures.unexplained < 0.25 and 5 < figures.features_a_token <= 10 and figures.dead < 0.05, path


def test_a_folder_of_feature_sets_is_named_after_their_hookpoint() -> None:
    for folder in filter(Path.is_dir, SHIPPED.iterdir()):
        assert {FeatureSet.load(path).sae.hookpoint for path in folder.glob("*.json")} == {folder.name}


def test_every_feature_set_of_the_miniature_shows_what_it_does() -> None:
    for path in SHIPPED.rglob("*.json"):
        picture = FeatureSet.load(path).picture
        assert picture is not None and picture.pixels().shape == (126, 256, 3), path
        assert len(picture.jpeg) <= LARGEST_PICTURE, path
