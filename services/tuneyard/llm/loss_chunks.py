"""How many tokens have logits at once in the loss. Imports no torch: predictions of memory ask it, too."""

_BUDGET_BYTES = {True: 16 << 20, False: 256 << 20}
"""Of a chunk's fp32 logits, on the processor and on an accelerator."""
UNIT = 64
"""Chunks are multiples of it. With fewer tokens reading the head's weights takes more time than the
products: for 128 k words on two cores, chunks of 16 took 1.6 times as long as of 64, and of 128 hardly less.
"""


def chunk_tokens(vocabulary: int, *, on_cpu: bool) -> int:
    """Tokens whose logits are computed at once."""
    return max(1, _BUDGET_BYTES[on_cpu] // (4 * vocabulary * UNIT)) * UNIT
