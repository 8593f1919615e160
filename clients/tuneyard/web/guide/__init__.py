"""The HTTP API of the training guide, under /api: flat JSON and forms, for clients written for it."""
