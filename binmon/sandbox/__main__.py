"""``python -m binmon.sandbox``."""

import sys

from .app import main

sys.exit(main())
