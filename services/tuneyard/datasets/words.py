"""How numbers of things are told to people."""


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "1 image" or "2 classes"."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
