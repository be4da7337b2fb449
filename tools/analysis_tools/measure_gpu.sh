#!/bin/bash
# Measures everything that needs a GPU, in at most 15 minutes:
#
#   tools/analysis_tools/measure_gpu.sh [CUDA_DEVICE]
#
# First the kernels are tested against the float64 formula; if they are wrong, nothing is timed. The
# stages after that are independent: one that fails or exceeds its time is listed at the end (status 1).
# The most important stages come first, and each writes its results when it ends.
# Needs torch for CUDA, Triton, MMEngine, pytest, MMCV with its CUDA operators and both toolboxes;
# timm and pytest-xdist are used if installed.
#
#   PYTHON  the Python to use     (default .venv/bin/python, or python)
#   OUT     folder of the results (default benchmarks/results)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
device=${1:-cuda:0}
out=${OUT:-benchmarks/results}
python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
# This checkout, whatever is installed; and the requested device, for the tests too.
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

# Correctness. Most of it is compilation, which several processes share.
parallel=()
"$python" -c 'import xdist' 2>/dev/null && parallel=(-n 8)
stage 240 "$python" -m pytest -q -x "${parallel[@]}" \
  tests/test_ops/test_{triton_passes,lean,formula,dispatch}.py || exit 1

ops=tools/analysis_tools/benchmark_ops.py
model=tools/analysis_tools/benchmark_model.py
seg=configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py
yolox=configs/det/yolox/yolox_s-ela-t_8xb8-300e_coco.py
elas=('ELA plain' 'ELA lean' 'ELA fused')
layers=("${elas[@]}" SE ECA CBAM CoordAtt 'timm ELA' 'timm CoordAtt')

# Layers in bfloat16, whole networks at the batch of their configs, then the other layouts and dtypes.
# torch.compile compiles each method and map anew, so only the large maps are compared with it.
common=(--device "$device" --out "$out")
stage 100 "$python" $ops "${common[@]}" --dtype bfloat16 --shapes real --repeats 1 \
  --methods "${layers[@]}"
stage 150 "$python" $ops "${common[@]}" --dtype bfloat16 --shapes large --repeats 1 \
  --methods "${layers[@]}" 'ELA compiled'
stage 110 "$python" $model $seg "${common[@]}" --dtype bfloat16 --pairs 100
stage 110 "$python" $model $yolox "${common[@]}" --dtype bfloat16 --pairs 100
stage 70 "$python" $ops "${common[@]}" --dtype bfloat16 --shapes large --repeats 1 \
  --channels-last --methods "${elas[@]}" CoordAtt
stage 70 "$python" $ops "${common[@]}" --dtype float16 --shapes real --repeats 1 \
  --methods "${elas[@]}" CoordAtt

echo "== total: $SECONDS s"
if [ "${#failed[@]}" -gt 0 ]; then
  printf '== failed: %s\n' "${failed[@]}"
  exit 1
fi
