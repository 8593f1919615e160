"""What every trainer shares: its server, the warm server, workers, journals. A family adds its recipes.

The server side imports no torch; recipes run in worker processes only.
"""
