"""The difference of two answers on the host's own cross-attention, whose layers are cast when they are called."""

from __future__ import annotations

import pytest
import torch

from saeuron.edits.cross_attention import attention_difference, keys_values


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_difference_is_that_of_the_hosts_whole_answers(stored: torch.dtype) -> None:
    import comfy.ops
    from comfy.ldm.modules.attention import CrossAttention

    torch.manual_seed(0)
    attn = CrossAttention(64, 48, heads=4, dim_head=16, dtype=stored, operations=comfy.ops.manual_cast)
    for parameter in attn.parameters():  # the host's layers skip initialisation
        torch.nn.init.normal_(parameter, std=0.2)
    attn.requires_grad_(False)
    x, a, c = torch.randn(2, 9, 64), torch.randn(1, 77, 48), torch.randn(1, 154, 48)
    expected = attn(x, a.expand(2, -1, -1)) - attn(x, c.expand(2, -1, -1))
    found = attention_difference(attn, x.flatten(0, 1), keys_values(attn, a), keys_values(attn, c)).view_as(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
