"""The RPC edge: each method checks its request, makes one call and wraps the answer."""
