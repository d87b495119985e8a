#!/usr/bin/env bash
# Train under Slurm, by srun.
# bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train], or ftcls slurm_train PARTITION …
# From the environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo "usage: slurm_train PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train]" >&2
  exit 2
fi
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
[ "$per_node" -le "$gpus" ] || per_node=$gpus
# shellcheck disable=SC2086  # SRUN_ARGS is a list of arguments
root="$(cd "$(dirname "$0")/.." && pwd)"
# In a checkout, its own ftcls is used; in an installed package, the folder holds names that others use too.
[ ! -d "$root/ftcls" ] || export PYTHONPATH="$root:${PYTHONPATH:-}"
exec srun -p "$1" \
  --job-name="$2" \
  --gres=gpu:"$per_node" \
  --ntasks="$gpus" \
  --ntasks-per-node="$per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 \
  ${SRUN_ARGS:-} \
  "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$3" --work-dir="$4" --launcher=slurm "${@:5}"
