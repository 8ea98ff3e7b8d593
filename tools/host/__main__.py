"""``python -m tools.host``: unpack the known ComfyUI where it is missing."""

import sys

from .unpack import main

sys.exit(main())
