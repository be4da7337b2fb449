#!/bin/bash
# Every figure that needs a GPU, into benchmarks/, with the device in the names of the files:
#
#   tools/analysis_tools/measure_gpu.sh [CUDA_DEVICE]
#
# The kernels are held against the float64 formula first; nothing is timed where they are wrong.
# PYTHON names the Python to use (default .venv/bin/python, or python). Made to take less than ten
# minutes on an H100; stages print how long they took.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
device=${1:-cuda}
python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
out=benchmarks

stage() {
  local begun=$SECONDS
  echo "== $*"
  "$@"
  echo "== $((SECONDS - begun)) s"
}

"$python" - "$device" <<'PYTHON'
import sys

from mmela import runtime
from mmela.runtime.benchmark import describe, use_device

with runtime.exit_on_user_error():
    print(describe(use_device(sys.argv[1])))
PYTHON

# Correctness.
stage "$python" -m pytest -q -x tests/test_ops/test_fused.py tests/test_runtime/test_benchmark.py

# Layers: maps of real batches and large ones.
ops=tools/analysis_tools/benchmark_ops.py
stage "$python" $ops --device "$device" --dtype bfloat16 --shapes real large --out $out
stage "$python" $ops --device "$device" --dtype float16 --shapes real large --out $out \
  --methods 'ELA plain' 'ELA lean' 'ELA fused' CBAM CoordAtt 'timm ELA'
stage "$python" $ops --device "$device" --dtype bfloat16 --shapes large --channels-last --out $out \
  --methods 'ELA plain' 'ELA fused' CoordAtt

# Whole networks, in mixed precision, at the batch of their configs.
model=tools/analysis_tools/benchmark_model.py
stage "$python" $model configs/det/faster_rcnn/faster-rcnn_r50-ela-b-c3-c5_fpn_1x_coco.py \
  --device "$device" --dtype bfloat16 --shape 800 1344 --out $out
stage "$python" $model configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py \
  --device "$device" --dtype bfloat16 --out $out
stage "$python" $model configs/det/yolox/yolox_s-ela-t_8xb8-300e_coco.py \
  --device "$device" --dtype bfloat16 --out $out
echo "== all of it: $SECONDS s"
