import subprocess
import sys

import pytest
from made.stores import annotated, source, vectors

from avemo_jax.packing.build import build_store

MEASURE = """
import sys
from avemo_jax.data.store.store import open_store
def peak_bytes():
    # Not ru_maxrss, which a process inherits from the one that started it.
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

store = open_store(sys.argv[1])
store.load_table("EXPR", "dev", ["big"], show_progress=False)
before = peak_bytes()
path = sys.argv[2] if len(sys.argv) > 2 else None
table = store.load_table(
    "EXPR", "train", ["big"], memmap_path=path, show_progress=False
)
after = peak_bytes()
print((after - before) / table.features.nbytes)
"""


@pytest.mark.slow
def test_peak_memory_while_loading(tmp_path):
    frames, dim, videos = 1000, 1000, 40
    names = [f"video{i}" for i in range(videos)]
    big = vectors("big", {name: list(range(1, frames + 1)) for name in names[:2]}, dim)
    shared = {name: big[names[i % 2]] for i, name in enumerate(names)}
    records = [
        annotated(n, frames, "train" if i else "dev") for i, n in enumerate(names)
    ]
    build_store(
        tmp_path, records, [source("big@a", "visual", shared)], show_progress=False
    )
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    # 78 MB; the peak is that of the whole process, less what it had before.
    assert 0.5 < float(ran.stdout) <= 1.4
