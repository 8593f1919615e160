"""Modules that a warm server imports in tests: slow ones, and some that make forking unsafe."""
