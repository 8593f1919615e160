"""Takes as long to import as a large library."""

import time

time.sleep(2)
