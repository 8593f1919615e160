"""`python -m tuneyard.gateway`: a gateway with the settings of the environment."""

from tuneyard.gateway.app import run
from tuneyard.gateway.config import load_config

if __name__ == "__main__":
    run(load_config())
