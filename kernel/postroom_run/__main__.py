"""`python -m postroom_run SITE`: serve a site without the command line plugin; the ready line goes to stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from postroom.errors import ConfigError
from postroom_run.supervisor import serve

if __name__ == "__main__":
    try:
        sys.exit(serve(Path(sys.argv[1] if len(sys.argv) > 1 else "."), on_ready=lambda told: print(json.dumps(told), flush=True)))
    except ConfigError as error:
        sys.exit(str(error))
