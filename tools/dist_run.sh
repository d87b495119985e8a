#!/usr/bin/env bash
# Used by dist_train.sh and dist_test.sh: torchrun with GPUS processes on this machine.
set -euo pipefail
gpus=$1
case "$gpus" in
  ''|*[!0-9]*|0) echo "error: GPUS must be a whole number above 0, got '$gpus'" >&2; exit 2 ;;
esac
here="$(cd "$(dirname "$0")" && pwd)"
# The cores are shared by the processes; torchrun and MMEngine would give each one thread.
cores="$(nproc 2>/dev/null || echo 1)"
threads="$((cores > gpus ? cores / gpus : 1))"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$threads}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-$threads}"
root="$(dirname "$here")"
# In a checkout, its own ftcls is used; in an installed package, the folder holds names that others use too.
[ ! -d "$root/ftcls" ] || export PYTHONPATH="$root:${PYTHONPATH:-}"
exec "${PYTHON:-python}" "$here/dist_launch.py" \
  --nnodes="${NNODES:-1}" \
  --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" \
  --master_port="${PORT:-29500}" \
  --nproc_per_node="$gpus" \
  "${@:2}"
