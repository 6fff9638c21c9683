# The image of every pod: `docker build --target cpu -t tandem:0.1.0-cpu .` or `--target gpu -t tandem:0.1.0-gpu .`
#
# Its steps are requirements/setup.sh, which sets up a bare machine too. The layers, from what seldom changes to what often
# does: the system, the locked packages, our code. Both targets begin with the same base: CUDA comes with the packages.
FROM python:3.11.13-slim-bookworm AS system
# A compiler: vLLM and DeepSpeed compile small kernels where they run.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1000 tandem && useradd --uid 1000 --gid 1000 --create-home tandem
WORKDIR /opt/tandem
ENV PATH=/opt/tandem/.venv/bin:$PATH \
    PYTHON=/usr/local/bin/python3.11 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0

FROM system AS cpu-packages
COPY requirements/setup.sh requirements/cpu.txt requirements/
COPY pyproject.toml README.md ./
RUN PACKAGES_ONLY=1 requirements/setup.sh cpu

FROM system AS gpu-packages
COPY requirements/setup.sh requirements/gpu.txt requirements/
COPY pyproject.toml README.md ./
RUN PACKAGES_ONLY=1 requirements/setup.sh gpu

FROM cpu-packages AS cpu
COPY . .
# Compiled here, since a pod's root cannot be written.
RUN requirements/setup.sh cpu && python -m compileall -q -j 0 .venv/lib tandem cluster training retrieval serving evaluation
USER 1000:1000
# For `docker run`; Kubernetes asks with probes of its own. Without an endpoint in it the container is well.
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-m", "cluster.health"]
CMD ["tandem", "--help"]

FROM gpu-packages AS gpu
# The packages' own compiler, for what vLLM and DeepSpeed compile; without it they look where there is none.
ENV CUDA_HOME=/opt/tandem/.venv/lib/python3.11/site-packages/nvidia/cu13
COPY . .
RUN requirements/setup.sh gpu && python -m compileall -q -j 0 .venv/lib tandem cluster training retrieval serving evaluation
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-m", "cluster.health"]
CMD ["tandem", "--help"]
