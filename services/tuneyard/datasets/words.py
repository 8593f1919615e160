"""How numbers of things are told to people."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun, such as "1 image" or "2 classes"; irregular nouns come with their plural."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {plural or noun + ('es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's')}"
