"""``python -m binmon`` is the command ``binmon``."""

from __future__ import annotations

import sys

from binmon.cli.main import main

sys.exit(main())
