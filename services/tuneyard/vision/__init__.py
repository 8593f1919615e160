"""The vision family: image classifiers, on torchvision's architectures.

The trainer's server imports `catalogue`, `estimate` and `config`, which hold no torch; the recipe's modules
are imported in the worker.
"""
