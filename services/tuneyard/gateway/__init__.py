"""The gateway: the public API, the job ledger and the controller that hands jobs to trainers."""
