"""The load generator as a process of its own, outside the server.

python -m benchmarks.serving_load '{"url": "http://127.0.0.1:8000/v1", "model": "base", "key": null, "concurrency": 8,
                                    "num_tokens": 64, "prompts": "prompts.json"}'

What came when is printed as JSON.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from serving.capacity.load import Clients, Load

__all__ = ["Load"]

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    prompts = json.loads(Path(asked["prompts"]).read_text())
    print(json.dumps(asdict(asyncio.run(Clients(asked, prompts).run()))))
