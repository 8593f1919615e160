"""What the recipes of all families share: the course of a training, its counters, states, rates and advice.

It may import torch, unlike `tuneyard.trainer`, and is imported by recipes in a worker alone.
"""
