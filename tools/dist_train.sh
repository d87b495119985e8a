#!/usr/bin/env bash
# Train with several processes on this machine, or on NNODES machines, by torchrun.
# bash tools/dist_train.sh CONFIG GPUS [arguments of train], or ftcls dist_train CONFIG GPUS …
# From the environment: NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: dist_train CONFIG GPUS [arguments of train]" >&2
  exit 2
fi
exec bash "$(dirname "$0")/dist_run.sh" "$2" "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
