"""What a merged model is tried on, in numbers, and the memory that it takes. Imports no torch."""

from tuneyard.llm.model_facts import ModelFacts

ROW_TOKENS = 256
_MOST_ROWS = 8
_LOGITS_BYTES = 128 << 20
"""Of one model's answers in fp32, where a single row is not more already."""
_COPIES = 3
"""Of them: what is expected, and another model's as they are computed and as they are kept."""
_FP32 = 4


def proof_row_count(vocabulary: int) -> int:
    """How many rows of at most ROW_TOKENS tokens a model of so large a vocabulary is tried on."""
    return min(_MOST_ROWS, max(1, _LOGITS_BYTES // (_FP32 * vocabulary * ROW_TOKENS)))


def proof_bytes(facts: ModelFacts) -> int:
    """Memory for the answers and the activations of a proof, in fp32, beside the layer that computes."""
    tokens = proof_row_count(facts.vocab_size) * ROW_TOKENS
    # The residual stream with its norms, queries, keys and values; then the two halves of a feed-forward part
    # and their product. No layer's outlive it.
    width = 4 * facts.hidden_size + max(
        facts.head_dim * (2 * facts.heads + 2 * facts.kv_heads), 3 * facts.intermediate_size
    )
    return _FP32 * tokens * (_COPIES * facts.vocab_size + width)
