"""Chat templates by name, for tokenizers that bring none. Text only: what runs them is `templates`.

Each marks with `{% generation %}` what the assistant says, the end of its turn included, and writes the token
that begins a text only where the tokenizer does so by itself.
"""

from dataclasses import dataclass

DEFAULT = "plain"
"""For a tokenizer without a template where none is named: it needs no token of its own."""


@dataclass(frozen=True)
class BuiltinTemplate:
    """A template's body, and the control tokens that a vocabulary should know for it."""

    body: str
    control_tokens: tuple[str, ...] = ()

    def source(self, *, begins_with_bos: bool) -> str:
        """The template as jinja text."""
        return "{%- set bos = " + ("bos_token" if begins_with_bos else "''") + " -%}" + self.body


_SYSTEM_APART = """
{%- if messages[0].role == 'system' -%}
{%- set system = messages[0].content | trim -%}{%- set turns = messages[1:] -%}
{%- else -%}
{%- set system = '' -%}{%- set turns = messages -%}
{%- endif -%}
"""

_CHATML = """
{{- bos -}}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content + '<|im_end|>' -}}
{%- endif -%}
{{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

_LLAMA_2 = (
    _SYSTEM_APART
    + """
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- bos + '[INST] ' -}}
{%- if loop.first and system -%}{{- '<<SYS>>\n' + system + '\n<</SYS>>\n\n' -}}{%- endif -%}
{{- message.content | trim + ' [/INST]' -}}
{%- else -%}
{%- generation -%}{{- ' ' + message.content | trim + ' ' + eos_token -}}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
"""
)

_LLAMA_3 = """
{{- bos -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content | trim + '<|eot_id|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content | trim + '<|eot_id|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}
"""

_MISTRAL = (
    _SYSTEM_APART
    + """
{{- bos -}}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- '[INST] ' -}}
{%- if loop.first and system -%}{{- system + '\n\n' -}}{%- endif -%}
{{- message.content + ' [/INST]' -}}
{%- else -%}
{%- generation -%}{{- ' ' + message.content + eos_token -}}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
"""
)

_PHI_2 = (
    _SYSTEM_APART
    + """
{{- bos -}}
{%- if system -%}{{- system + '\n' -}}{%- endif -%}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- 'Instruct: ' + message.content + '\nOutput:' -}}
{%- else -%}
{%- generation -%}{{- ' ' + message.content + eos_token -}}{%- endgeneration -%}{{- '\n' -}}
{%- endif -%}
{%- endfor -%}
"""
)

_PHI_3 = """
{{- bos -}}
{%- for message in messages -%}
{{- '<|' + message.role + '|>\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content + '<|end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message.content + '<|end|>' -}}
{%- endif -%}
{{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}
"""

_GEMMA = (
    _SYSTEM_APART
    + """
{{- bos -}}
{%- for message in turns -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content | trim + '<end_of_turn>' -}}{%- endgeneration -%}
{%- else -%}
{%- if loop.first and system -%}{{- system + '\n\n' -}}{%- endif -%}
{{- message.content | trim + '<end_of_turn>' -}}
{%- endif -%}
{{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}
"""
)

_ALPACA = (
    _SYSTEM_APART
    + """
{{- bos -}}
{%- if system -%}{{- system -}}{%- else -%}
{{- 'Below is an instruction that describes a task. '
    'Write a response that appropriately completes the request.' -}}
{%- endif -%}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- '\n\n### Instruction:\n' + message.content + '\n\n### Response:\n' -}}
{%- else -%}
{%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
"""
)

_VICUNA = (
    _SYSTEM_APART
    + """
{{- bos -}}
{%- if system -%}{{- system -}}{%- else -%}
{{- 'A chat between a curious user and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the user's questions." -}}
{%- endif -%}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- ' USER: ' + message.content + ' ASSISTANT:' -}}
{%- else -%}
{%- generation -%}{{- ' ' + message.content + eos_token -}}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
"""
)

_ZEPHYR = """
{{- bos -}}
{%- for message in messages -%}
{{- '<|' + message.role + '|>\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
{%- else -%}
{{- message.content + eos_token -}}
{%- endif -%}
{{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}
"""

# A line's end before the answer: hardly any vocabulary merges it with what follows.
_PLAIN = (
    _SYSTEM_APART
    + """
{{- bos -}}
{%- if system -%}{{- system + '\n\n' -}}{%- endif -%}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- '### User:\n' + message.content + '\n\n### Assistant:\n' -}}
{%- else -%}
{%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}{{- '\n\n' -}}
{%- endif -%}
{%- endfor -%}
"""
)

BUILTIN = {
    "chatml": BuiltinTemplate(_CHATML, ("<|im_start|>", "<|im_end|>")),
    "llama-2": BuiltinTemplate(_LLAMA_2),
    "llama-3": BuiltinTemplate(_LLAMA_3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "mistral": BuiltinTemplate(_MISTRAL),
    "phi-2": BuiltinTemplate(_PHI_2),
    "phi-3": BuiltinTemplate(_PHI_3, ("<|user|>", "<|assistant|>", "<|end|>")),
    "gemma": BuiltinTemplate(_GEMMA, ("<start_of_turn>", "<end_of_turn>")),
    "alpaca": BuiltinTemplate(_ALPACA),
    "vicuna": BuiltinTemplate(_VICUNA),
    "zephyr": BuiltinTemplate(_ZEPHYR),
    "plain": BuiltinTemplate(_PLAIN),
}
"""By the name that `chat_template` takes."""
