"""What ``binmon run`` does before anything else."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
from binmon.cli.run import _load_arrow_alone

_load_arrow_alone()
import pyarrow as pa, pyarrow.parquet as pq, io

pq.write_table(pa.table({"symbol": ["BTCUSDT"], "price": [[1.5, 2.5]]}), io.BytesIO())
print(pa.default_memory_pool().backend_name, "pandas" in sys.modules)
import pandas  # whoever wants it can have it
"""


def test_arrow_comes_without_pandas_and_without_an_allocator_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["system", "False"]
