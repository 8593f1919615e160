"""Code that tests and benchmarks share. Not for doubles of the product's own parts: those ship with it."""
