from __future__ import annotations

import pytest

from saeuron.errors import SaeuronError
from saeuron.sae.hookpoints import FAMILIES, SAEURON, SDXL_UNBOX, canonical_name, find_hookpoint, hookpoints_of

# channel_mult and, per level, whether its blocks have transformers: the published UNet configurations.
CONFIGURATIONS = {
    "sdxl": ((1, 2, 4), (False, True, True)),
    "sd15": ((1, 2, 4, 4), (True, True, True, False)),
}


def blocks_as_the_unet_builds_them(family: str) -> list[tuple[str, str, int]]:
    """(diffusers name, ComfyUI module, width factor), by counting as the two constructors do: two resnets a level."""
    multipliers, attention = CONFIGURATIONS[family]
    levels = range(len(multipliers))
    built = []
    number = 1  # input_blocks.0 is the input convolution
    for level in levels:
        for j in range(2):
            if attention[level]:
                built.append((f"down_blocks.{level}.attentions.{j}", f"input_blocks.{number}.1", multipliers[level]))
            number += 1
        number += 1  # the downsampler
    built.append(("mid_block.attentions.0", "middle_block.1", multipliers[-1]))
    number = 0
    for block, level in enumerate(reversed(levels)):
        for j in range(3):
            if attention[level]:
                built.append((f"up_blocks.{block}.attentions.{j}", f"output_blocks.{number}.1", multipliers[level]))
            number += 1
    return built


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_every_block_with_attention(family: str) -> None:
    found = [(h.name, h.module, h.width_factor) for h in hookpoints_of(family)]
    assert found == blocks_as_the_unet_builds_them(family)
    assert {h.family for h in hookpoints_of(family)} == {family}


@pytest.mark.parametrize(
    ("family", "name", "module", "width"),
    [
        # read in a running ComfyUI 0.3.75
        ("sdxl", "up_blocks.0.attentions.1", "output_blocks.1.1", 1280),
        ("sdxl", "up_blocks.0.attentions.0", "output_blocks.0.1", 1280),
        ("sdxl", "mid_block.attentions.0", "middle_block.1", 1280),
        ("sdxl", "down_blocks.2.attentions.1", "input_blocks.8.1", 1280),
        ("sd15", "up_blocks.1.attentions.1", "output_blocks.4.1", 1280),
        ("sd15", "up_blocks.1.attentions.2", "output_blocks.5.1", 1280),
    ],
)
def test_published_sites(family: str, name: str, module: str, width: int) -> None:
    hookpoint = find_hookpoint(name, family)
    assert (hookpoint.module, hookpoint.width()) == (module, width)


def test_width_follows_the_unet() -> None:
    assert find_hookpoint("up.1.0", "sdxl").width() == 640
    assert find_hookpoint("up.1.0", "sdxl").width(64) == 128


def test_named_sets_exist() -> None:
    assert [find_hookpoint(name, "sdxl").name for name in SDXL_UNBOX] == list(SDXL_UNBOX)
    assert [find_hookpoint(name, "sd15").name for name in SAEURON] == list(SAEURON)


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_short_forms_mean_the_same(family: str) -> None:
    for hookpoint in hookpoints_of(family):
        short = hookpoint.name.replace("_blocks", "").replace("_block", "").replace(".attentions", "")
        for form in (hookpoint.name, short, f"unet.{hookpoint.name}", f"unet.{short}", f" {hookpoint.name}\n"):
            assert find_hookpoint(form, family) is hookpoint
    assert canonical_name("mid") == canonical_name("mid_block") == "mid_block.attentions.0"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "up",
        "up.0",
        "up.0.1.2",
        "up_blocks.0.1",
        "up_blocks.0.resnets.1",
        "unet.unet.mid",
        "mid.1",
        "left.0.1",
        "up.٣.1",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SaeuronError, match=r"up_blocks\.0\.attentions\.1"):
        canonical_name(name)


@pytest.mark.parametrize("name", ["up.2.0", "down_blocks.0.attentions.0", "nonsense", "up.0.3"])
def test_error_lists_valid_names(name: str) -> None:
    with pytest.raises(SaeuronError) as caught:
        find_hookpoint(name, "sdxl")
    assert name in str(caught.value)
    assert all(hookpoint.name in str(caught.value) for hookpoint in FAMILIES["sdxl"])


def test_unknown_family() -> None:
    with pytest.raises(SaeuronError, match="sdxl, sd15"):
        find_hookpoint("mid", "flux")
