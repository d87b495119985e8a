#!/usr/bin/env bash
# Test with several processes on this machine, or on NNODES machines, by torchrun.
# bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test], or ftcls dist_test CONFIG CHECKPOINT GPUS …
# From the environment: NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: dist_test CONFIG CHECKPOINT GPUS [arguments of test]" >&2
  exit 2
fi
exec bash "$(dirname "$0")/dist_run.sh" "$3" "$(dirname "$0")/test.py" "$1" "$2" --launcher pytorch "${@:4}"
