"""The HTTP edge: REST, server-sent events and the web UI, as a client of the gateway. It holds no state."""
