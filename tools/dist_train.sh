#!/usr/bin/env bash
# Train with several processes of one or more machines:
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# On several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment.
# Without GPUs the processes are connected by gloo.
set -euo pipefail

if [ $# -lt 2 ] || ! [[ "$2" =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]; GPUS is a whole number" >&2
    exit 2
fi

exec "${PYTHON:-python}" -m mmela.engine.launch \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
