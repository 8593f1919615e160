"""The messages and services of tuneyard.v1, generated: never edited, see `make protos`."""
