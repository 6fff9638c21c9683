"""The same rows, model and adapter in TRL's SFTTrainer with its own packing.

TRL packs best fit decreasing and keeps rows apart by their positions, which transformers' attention reads.

pip install --no-deps trl==1.16.0
python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.baselines.trl_packed RUN_FOLDER ROWS.jsonl
"""

import sys
from pathlib import Path

from benchmarks.baselines.trl_padded import main

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), packing=True)
