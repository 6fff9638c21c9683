"""Stock `ray.serve.llm` as its documentation starts it, on a CPU: python ray_serve_llm.py MODEL PORT ENGINE_KWARGS."""

import json
import signal
import sys

import ray
from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app

if __name__ == "__main__":
    model, port, engine_kwargs = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    ray.init(num_cpus=6, include_dashboard=False)
    config = LLMConfig(
        model_loading_config={"model_id": "base", "model_source": model},
        engine_kwargs=engine_kwargs,
        placement_group_config={"bundles": [{"CPU": 1}]},
        deployment_config={"num_replicas": 1},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build_openai_app({"llm_configs": [config]}), route_prefix="/")
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
