"""The miniature's shape, in the words of ComfyUI's ``UNetModel`` and of transformers' CLIP text model."""

from __future__ import annotations

from typing import Any

BASE_MODEL = "saeuron-miniature"
TEXT_WIDTH = 128
POOLED_PLUS_SIZES = TEXT_WIDTH + 6 * 256  # SDXL's six size numbers, 256 sinusoids each
IMAGE_SIZE = 192

DECISIVE = {"objects": "up_blocks.1.attentions.0", "styles": "up_blocks.1.attentions.2"}
"""The hookpoint that has the most say in what is drawn; docs/evaluation.md says how that was found."""

UNET_CONFIG: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 3],
    "transformer_depth": [0, 0, 1, 1, 1, 1],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": TEXT_WIDTH,
    "adm_in_channels": POOLED_PLUS_SIZES,
    "num_classes": "sequential",
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "legacy": False,
    "num_head_channels": 64,
}

TEXT_CONFIG: dict[str, Any] = {
    "hidden_size": TEXT_WIDTH,
    "projection_dim": TEXT_WIDTH,
    "intermediate_size": 4 * TEXT_WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
    "bos_token_id": 49406,
    "pad_token_id": 49407,
    "vocab_size": 49408,
}
