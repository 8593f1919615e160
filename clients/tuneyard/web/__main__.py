"""The web edge: `python -m tuneyard.web`."""

import structlog
import uvicorn

from tuneyard.web.app import make_app
from tuneyard.web.config import ConfigError, load_config

_GRACE_SECONDS = 2
_LARGEST_FRAME_BYTES = 1 << 16

if __name__ == "__main__":
    try:
        config = load_config()
    except ConfigError as error:
        raise SystemExit(f"the web server cannot start: {error}") from error
    host, _, port = config.listen.rpartition(":")
    structlog.get_logger("tuneyard.web").info("serving", listen=config.listen, gateway=config.server)
    uvicorn.run(
        make_app(config),
        host=host.strip("[]"),
        port=int(port),
        access_log=False,
        log_level="warning",
        server_header=False,
        ws_max_size=_LARGEST_FRAME_BYTES,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
