#!/bin/bash
# Every figure that needs a GPU, with the device in the names of the files:
#
#   tools/analysis_tools/measure_gpu.sh [CUDA_DEVICE]
#
# The kernels are held against the float64 formula first; nothing is timed where they are wrong. After
# that each stage stands alone: one that fails or lasts too long is told at the end, with status 1,
# and costs the others nothing. The most important stages come first, and each writes as it goes.
# It needs torch for CUDA, Triton, MMEngine, pytest, MMCV with its CUDA operators and both toolboxes;
# timm and pytest-xdist where they are there.
#
#   PYTHON  the Python to use     (default .venv/bin/python, or python)
#   OUT     folder of the results (default benchmarks)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
device=${1:-cuda:0}
out=${OUT:-benchmarks}
python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
# This checkout, whatever is installed; and the device that was asked for, for the tests too.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
case $device in
  cuda:*)
    IFS=, read -r -a visible <<< "${CUDA_VISIBLE_DEVICES:-}"
    export CUDA_VISIBLE_DEVICES="${visible[${device#cuda:}]:-${device#cuda:}}"
    device=cuda:0
    ;;
esac
failed=()

stage() {
  local seconds=$1 begun=$SECONDS status
  shift
  echo "== $*"
  timeout "$seconds" "$@"
  status=$?
  echo "== status $status after $((SECONDS - begun)) s"
  [ "$status" -eq 0 ] || failed+=("$*")
  return "$status"
}

"$python" - "$device" <<'PYTHON' || exit 2
import sys

from mmela import engine
from benchmarks import describe, use_device

with engine.exit_on_user_error():
    print(describe(use_device(sys.argv[1])))
PYTHON

# Correctness. Compiling is most of it, so several processes share it where pytest can.
parallel=()
"$python" -c 'import xdist' 2>/dev/null && parallel=(-n 8)
stage 300 "$python" -m pytest -q -x "${parallel[@]}" \
  tests/test_ops/test_{fused{,_gradients,_graphs,_pytorch,_availability},weight_gradient}.py || exit 1

ops=tools/analysis_tools/benchmark_ops.py
model=tools/analysis_tools/benchmark_model.py
det=configs/det/faster_rcnn/faster-rcnn_r50-ela-b-c3-c5_fpn_1x_coco.py
seg=configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py
yolox=configs/det/yolox/yolox_s-ela-t_8xb8-300e_coco.py
# MMCV's RoIAlign has no bfloat16; that of torchvision computes in float32 under autocast.
roi_align=model.roi_head.bbox_roi_extractor.roi_layer.use_torchvision=True
layers=('ELA plain' 'ELA lean' 'ELA fused' SE ECA CBAM CoordAtt 'timm ELA' 'timm CBAM' 'timm CoordAtt')

# Layers in bfloat16, then whole networks at the batch of their configs, then the rest of the layers.
# Only the large maps are held against torch.compile, which compiles each method and map anew.
stage 150 "$python" $ops --device "$device" --dtype bfloat16 --shapes real --repeats 1 \
  --methods "${layers[@]}" --out "$out"
stage 300 "$python" $ops --device "$device" --dtype bfloat16 --shapes large --repeats 1 \
  --methods "${layers[@]}" 'ELA compiled' --out "$out"
stage 150 "$python" $model $seg --device "$device" --dtype bfloat16 --out "$out"
stage 150 "$python" $model $yolox --device "$device" --dtype bfloat16 --out "$out"
stage 200 "$python" $model $det --device "$device" --dtype bfloat16 --shape 800 1344 \
  --cfg-options $roi_align --out "$out"
stage 120 "$python" $ops --device "$device" --dtype float16 --shapes real large --repeats 1 \
  --methods 'ELA plain' 'ELA lean' 'ELA fused' CBAM CoordAtt 'timm ELA' --out "$out"
stage 120 "$python" $ops --device "$device" --dtype bfloat16 --shapes large --repeats 1 \
  --channels-last --methods 'ELA plain' 'ELA fused' CoordAtt --out "$out"
stage 150 "$python" $model $seg --device "$device" --dtype bfloat16 --pairs 50 --recompute --out "$out"

echo "== all of it: $SECONDS s"
if [ "${#failed[@]}" -gt 0 ]; then
  printf '== failed: %s\n' "${failed[@]}"
  exit 1
fi
