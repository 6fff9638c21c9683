#!/bin/sh
# Ray's own command does what `tandem --submit` does. It reads RAY_API_SERVER_ADDRESS, RAY_AUTH_MODE=token and
# RAY_AUTH_TOKEN; what is given to this script (--no-wait, --submission-id ID) goes before the job's command.
cd "$(dirname "$0")" || exit 1
exec ray job submit --working-dir working_dir --entrypoint-num-cpus 1 \
  --metadata-json '{"tandem": "0.1.0+7eeb2d98353d", "project": "submitted", "verb": "compare"}' \
  --runtime-env-json '{"py_modules": ["tandem-0.1.0+7eeb2d98353d-py3-none-any.whl"], "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}' \
  "$@" -- python -P -m tandem compare --fresh -c project/tandem.yaml
