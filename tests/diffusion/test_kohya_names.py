"""Names as kohya's sd-scripts write and read them, for the published shapes.

Its networks/lora_diffusers.py counts SDXL's layers as `3 * block + layer`, plus 1 in `input_blocks`.
"""

import pytest

from tuneyard.diffusion.kohya_names import KohyaNames
from tuneyard.diffusion.safe_pipeline import Kind

TO_Q = "transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    "kind, part, layer, name",
    [
        ("sd", "unet", f"down_blocks.0.attentions.1.{TO_Q}", "lora_unet_down_blocks_0_attentions_1_"),
        ("sd", "unet", f"mid_block.attentions.0.{TO_Q}", "lora_unet_mid_block_attentions_0_"),
        ("sdxl", "unet", f"down_blocks.1.attentions.0.{TO_Q}", "lora_unet_input_blocks_4_1_"),
        ("sdxl", "unet", f"down_blocks.2.attentions.1.{TO_Q}", "lora_unet_input_blocks_8_1_"),
        ("sdxl", "unet", f"mid_block.attentions.0.{TO_Q}", "lora_unet_middle_block_1_"),
        ("sdxl", "unet", f"up_blocks.0.attentions.0.{TO_Q}", "lora_unet_output_blocks_0_1_"),
        ("sdxl", "unet", f"up_blocks.1.attentions.2.{TO_Q}", "lora_unet_output_blocks_5_1_"),
        (
            "sd3",
            "transformer",
            "transformer_blocks.3.attn.to_q",
            "lora_transformer_transformer_blocks_3_attn_",
        ),
    ],
)
def test_a_network_s_layers_have_the_names_of_the_scripts(
    kind: Kind, part: str, layer: str, name: str
) -> None:
    found = KohyaNames(kind=kind).of_layer(part, layer)
    assert found.startswith(name) and found.endswith("_to_q")


@pytest.mark.parametrize(
    "layer, name",
    [
        ("down_blocks.1.resnets.0.time_emb_proj", "lora_unet_input_blocks_4_0_emb_layers_1"),
        ("mid_block.resnets.1.time_emb_proj", "lora_unet_middle_block_2_emb_layers_1"),
        ("up_blocks.2.resnets.1.time_emb_proj", "lora_unet_output_blocks_7_0_emb_layers_1"),
        ("time_embedding.linear_2", "lora_unet_time_embed_2"),
        ("add_embedding.linear_1", "lora_unet_label_emb_0_0"),
        ("down_blocks.1.attentions.1.proj_in", "lora_unet_input_blocks_5_1_proj_in"),
    ],
)
def test_other_linear_layers_of_sdxl_have_their_first_names_too(layer: str, name: str) -> None:
    assert KohyaNames(kind="sdxl").of_layer("unet", layer) == name


@pytest.mark.parametrize(
    "kind, part, prefix",
    [
        ("sd", "text_encoder", "lora_te_"),
        ("sdxl", "text_encoder", "lora_te1_"),
        ("sdxl", "text_encoder_2", "lora_te2_"),
    ],
)
@pytest.mark.parametrize("root", ["", "text_model."])
def test_text_encoders_are_numbered_where_there_are_two(
    kind: Kind, part: str, prefix: str, root: str
) -> None:
    layer = f"{root}encoder.layers.0.self_attn.q_proj"
    expected = f"{prefix}text_model_encoder_layers_0_self_attn_q_proj"
    assert KohyaNames(kind=kind).of_layer(part, layer) == expected


def test_the_blocks_of_smaller_networks_are_shorter() -> None:
    names = KohyaNames.of("sdxl", {"layers_per_block": 1})
    assert names.of_layer("unet", f"down_blocks.1.attentions.0.{TO_Q}").startswith(
        "lora_unet_input_blocks_3_1_"
    )
    assert names.of_layer("unet", f"up_blocks.1.attentions.0.{TO_Q}").startswith(
        "lora_unet_output_blocks_2_1_"
    )
