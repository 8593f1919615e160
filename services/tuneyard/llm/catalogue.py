"""The base models that are known by name: where they come from, at which revision, and how large they are.

Imports no torch and asks no network. Sizes follow from the published config.json of each, and what a model
needs is predicted from them.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.recommended import recommended_spec
from tuneyard.llm.workload import sensible_devices
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.trainer.known_models import GATED, listed
from tuneyard.v1 import model_service_pb2, training_pb2

RECOMMENDED = "mistral-7b"
"""A 7B model, as the guide's, whose licence asks for nothing."""
_APACHE, _LLAMA_2, _LLAMA_3_1 = "Apache-2.0", "Llama 2 Community License", "Llama 3.1 Community License"


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownModel:
    """A base model of the catalogue."""

    id: str
    hub_id: str
    revision: str
    """A commit of the hub's repository; "" where none is pinned, and the caller has to name one."""
    license: str
    gated: bool = False
    """Whether its licence must be accepted on the hub before it can be fetched."""
    chat_template: str = ""
    """The built-in template for a base that brings none of its own."""
    description: str
    config: Mapping[str, Any] = field(repr=False)

    @functools.cached_property
    def facts(self) -> ModelFacts:
        """Its sizes."""
        facts = ModelFacts.from_config(self.config)
        assert facts is not None, self.id
        return facts


def _config(
    model_type: str,
    *,
    layers: int,
    hidden: int,
    heads: tuple[int, int],
    inner: int,
    vocab: int,
    positions: int,
    tied: bool = False,
    dtype: str = "bfloat16",
) -> dict[str, Any]:
    """A config.json, as far as sizes depend on it; `heads` are those of queries and those of keys."""
    classes = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "phi": "Phi"}
    return {
        "model_type": model_type,
        "architectures": [f"{classes[model_type]}ForCausalLM"],
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": inner,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
        "dtype": dtype,
    }


_ONCE = (
    KnownModel(
        id="mistral-7b",
        hub_id="mistralai/Mistral-7B-v0.1",
        revision="27d67f1b5f57dc0953326b2601d68371d40ea8da",
        license=_APACHE,
        chat_template="mistral",
        description="A strong 7B base model; the recommended start.",
        config=_config(
            "mistral", layers=32, hidden=4096, heads=(32, 8), inner=14336, vocab=32000, positions=32768
        ),
    ),
    KnownModel(
        id="llama-2-7b",
        hub_id="meta-llama/Llama-2-7b-hf",
        revision="01c7f73d771dfac7d292323805ebc428287df4f9",
        license=_LLAMA_2,
        gated=True,
        chat_template="llama-2",
        description="Meta's second Llama in its smallest size.",
        config=_config(
            "llama",
            layers=32,
            hidden=4096,
            heads=(32, 32),
            inner=11008,
            vocab=32000,
            positions=4096,
            dtype="float16",
        ),
    ),
    KnownModel(
        id="llama-2-13b",
        hub_id="meta-llama/Llama-2-13b-hf",
        revision="5c31dfb671ce7cfe2d7bb7c04375e44c55e815b1",
        license=_LLAMA_2,
        gated=True,
        chat_template="llama-2",
        description="Meta's second Llama in its middle size.",
        config=_config(
            "llama",
            layers=40,
            hidden=5120,
            heads=(40, 40),
            inner=13824,
            vocab=32000,
            positions=4096,
            dtype="float16",
        ),
    ),
    KnownModel(
        id="llama-2-70b",
        hub_id="meta-llama/Llama-2-70b-hf",
        revision="3aba440b59558f995867ba6e1f58f21d0336b5bb",
        license=_LLAMA_2,
        gated=True,
        chat_template="llama-2",
        description="Meta's second Llama in its largest size.",
        config=_config(
            "llama",
            layers=80,
            hidden=8192,
            heads=(64, 8),
            inner=28672,
            vocab=32000,
            positions=4096,
            dtype="float16",
        ),
    ),
    KnownModel(
        id="llama-3.1-8b",
        hub_id="meta-llama/Llama-3.1-8B",
        revision="d04e592bb4f6aa9cfee91e2e20afa771667e1d4b",
        license=_LLAMA_3_1,
        gated=True,
        chat_template="llama-3",
        description="Meta's Llama 3.1, with long positions and a large vocabulary.",
        config=_config(
            "llama", layers=32, hidden=4096, heads=(32, 8), inner=14336, vocab=128256, positions=131072
        ),
    ),
    KnownModel(
        id="phi-2",
        chat_template="phi-2",
        hub_id="microsoft/phi-2",
        revision="ef382358ec9e382308935a992d908de099b64c23",
        license="MIT",
        description="Microsoft's small base model.",
        config=_config(
            "phi",
            layers=32,
            hidden=2560,
            heads=(32, 32),
            inner=10240,
            vocab=51200,
            positions=2048,
            dtype="float16",
        ),
    ),
    KnownModel(
        id="qwen-7b",
        hub_id="Qwen/Qwen2.5-7B-Instruct",
        revision="a09a35458c702b33eeacc393d103063234e8bc28",
        license=_APACHE,
        description="Qwen 2.5 with instructions; unlike the first Qwen it needs no code of its own.",
        config=_config(
            "qwen2", layers=28, hidden=3584, heads=(28, 4), inner=18944, vocab=152064, positions=32768
        ),
    ),
    KnownModel(
        id="qwen2.5-0.5b",
        hub_id="Qwen/Qwen2.5-0.5B-Instruct",
        revision="7ae557604adf67be50417f59c2c2f167def9a775",
        license=_APACHE,
        description="Very small, with instructions; good for first tries.",
        config=_config(
            "qwen2",
            layers=24,
            hidden=896,
            heads=(14, 2),
            inner=4864,
            vocab=151936,
            positions=32768,
            tied=True,
        ),
    ),
    KnownModel(
        id="qwen2.5-1.5b",
        hub_id="Qwen/Qwen2.5-1.5B-Instruct",
        revision="989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
        license=_APACHE,
        description="Small, with instructions; LoRA fits cards of 8 GB.",
        config=_config(
            "qwen2",
            layers=28,
            hidden=1536,
            heads=(12, 2),
            inner=8960,
            vocab=151936,
            positions=32768,
            tied=True,
        ),
    ),
    KnownModel(
        id="qwen2.5-14b",
        hub_id="Qwen/Qwen2.5-14B-Instruct",
        revision="cf98f3b3bbb457ad9e2bb7baf9a0125b6b88caa8",
        license=_APACHE,
        description="Qwen 2.5 with instructions, between 7B and 32B.",
        config=_config(
            "qwen2", layers=48, hidden=5120, heads=(40, 8), inner=13824, vocab=152064, positions=32768
        ),
    ),
    KnownModel(
        id="qwen2.5-32b",
        hub_id="Qwen/Qwen2.5-32B-Instruct",
        revision="5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd",
        license=_APACHE,
        description="Qwen 2.5 with instructions, for one large accelerator.",
        config=_config(
            "qwen2", layers=64, hidden=5120, heads=(40, 8), inner=27648, vocab=152064, positions=32768
        ),
    ),
    KnownModel(
        id="qwen2.5-72b",
        hub_id="Qwen/Qwen2.5-72B-Instruct",
        revision="495f39366efef23836d0cfae4fbe635880d2be31",
        license="Qwen License",
        description="Qwen 2.5 with instructions in its largest size; QLoRA on one accelerator of 80 GB.",
        config=_config(
            "qwen2", layers=80, hidden=8192, heads=(64, 8), inner=29568, vocab=152064, positions=32768
        ),
    ),
    KnownModel(
        id="tinyllama-1.1b",
        hub_id="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        revision="fe8a4ea1ffedaf415f4da2f062534de366a451e6",
        license=_APACHE,
        description="A small Llama with instructions.",
        config=_config(
            "llama", layers=22, hidden=2048, heads=(32, 4), inner=5632, vocab=32000, positions=2048
        ),
    ),
    KnownModel(
        id="smollm2-135m",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        license=_APACHE,
        description="Tiny, with instructions; trains on a processor without an accelerator.",
        config=_config(
            "llama", layers=30, hidden=576, heads=(9, 3), inner=1536, vocab=49152, positions=8192, tied=True
        ),
    ),
    KnownModel(
        id="smollm2-360m",
        hub_id="HuggingFaceTB/SmolLM2-360M-Instruct",
        revision="a10cc1512eabd3dde888204e902eca88bddb4951",
        license=_APACHE,
        description="Very small, with instructions.",
        config=_config(
            "llama", layers=32, hidden=960, heads=(15, 5), inner=2560, vocab=49152, positions=8192, tied=True
        ),
    ),
)
KNOWN = (*_ONCE, *(replace(known, id="qwen2.5-7b") for known in _ONCE if known.id == "qwen-7b"))
"""One model goes by two names: the guide's, and that of its generation."""
_BY_NAME = {name: known for known in reversed(KNOWN) for name in (known.hub_id, known.id)}


def find(name: str) -> KnownModel | None:
    """The model of an id of the catalogue, or of a hub's id that an entry of it stands for."""
    return _BY_NAME.get(name)


def base_models(places: HubPlaces | None = None) -> list[model_service_pb2.BaseModel]:
    """The catalogue, the recommended one first; `places` tells where the weights are."""
    return listed(KNOWN, places, entry=_entry)


@functools.cache
def _entry(known: KnownModel) -> model_service_pb2.BaseModel:
    minimum, recommended = sensible_devices(known.facts)
    return model_service_pb2.BaseModel(
        id=known.id,
        display_name=known.hub_id.partition("/")[2],
        family=training_pb2.FAMILY_LLM,
        tasks=[training_pb2.TASK_KIND_LANGUAGE_MODEL],
        description=known.description + (GATED if known.gated else ""),
        parameter_count=known.facts.parameters,
        minimum_memory_bytes=minimum,
        recommended_memory_bytes=recommended,
        recommended=recommended_spec(known.id, known.facts),
        is_recommended=known.id == RECOMMENDED,
        availability=model_service_pb2.AVAILABILITY_FETCHABLE,
        revision=known.revision,
        license=known.license,
        hub_id=known.hub_id,
    )
