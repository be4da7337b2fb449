#!/bin/bash
# Measures everything that needs a GPU, in at most 15 minutes:
#
#   tools/analysis_tools/measure_gpu.sh [CUDA_DEVICE | cpu]
#
# First the kernels are tested against the float64 formula; if they are wrong, nothing is timed. The
# stages after that are independent: one that fails or exceeds its time is listed at the end (status 1).
# The most important stages come first, and each writes its results when it ends. `cpu` rehearses all
# of them on small inputs; its figures say nothing.
# Needs torch for CUDA, Triton, MMEngine, pytest, MMCV and both toolboxes; timm and pytest-xdist are
# used if installed. Without MMCV's CUDA operators Faster R-CNN takes torchvision's RoIAlign.
#
#   PYTHON  the Python to use     (default .venv/bin/python, or python)
#   OUT     folder of the results (default benchmarks/results)
#   WHEELS  folder with wheels and MMCV's source archive, for a machine without network: they are
#           installed first, and MMCV's CUDA operators built
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
limit=900

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

if [ -n "${WHEELS:-}" ]; then
  offline=("$python" -m pip install -q --no-index --find-links "$WHEELS" --no-build-isolation)
  capability=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
  stage 240 env FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="$capability" MAX_JOBS="$(nproc)" \
    "${offline[@]}" onedl-mmcv || stage 120 env FORCE_CUDA=0 MAX_JOBS="$(nproc)" "${offline[@]}" onedl-mmcv
  stage 60 "${offline[@]}" onedl-mmdetection onedl-mmsegmentation pytest pytest-xdist
fi

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

# Training: mixed precision, two processes, torch.compile.
stage 150 "$python" -m pytest -q -m long tests/test_on_device.py

ops=tools/analysis_tools/benchmark_ops.py
model=tools/analysis_tools/benchmark_model.py
seg=configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py
faster=configs/det/faster_rcnn/faster-rcnn_r50-ela-b-c3-c5_fpn_1x_coco.py
yolox=configs/det/yolox/yolox_s-ela-t_8xb8-300e_coco.py
elas=('ELA plain' 'ELA lean' 'ELA fused')
layers=("${elas[@]}" SE ECA CBAM CoordAtt 'timm ELA' 'timm CoordAtt')

# Layers in bfloat16, whole networks at the batch of their configs, then the other layouts and dtypes.
# torch.compile compiles each method and map anew, so only the large maps are compared with it.
common=(--device "$device" --out "$out")
real=(--shapes real) large=(--shapes large) network=(--pairs 100 --dtype bfloat16) rcnn=()
if [ "$device" = cpu ]; then
  real=(--shapes 2x64x20x20) large=(--shapes 2x64x20x20)
  network=(--pairs 2 --batch 2 --shape 64 64 --dtype float32)
elif ! "$python" -c 'import torch; from mmcv.ops import roi_align
roi_align(torch.ones(1, 1, 8, 8).cuda(), torch.tensor([[0., 0, 0, 8, 8]]).cuda(), 2)' 2>/dev/null; then
  rcnn=(--cfg-options model.roi_head.bbox_roi_extractor.roi_layer.use_torchvision=True)
fi
stage 100 "$python" $ops "${common[@]}" --dtype bfloat16 "${real[@]}" --repeats 1 \
  --methods "${layers[@]}"
stage 150 "$python" $ops "${common[@]}" --dtype bfloat16 "${large[@]}" --repeats 1 \
  --methods "${layers[@]}" 'ELA compiled'
stage 110 "$python" $model $seg "${common[@]}" "${network[@]}"
stage 110 "$python" $model $yolox "${common[@]}" "${network[@]}"
stage 110 "$python" $model $faster "${common[@]}" "${network[@]}" "${rcnn[@]}"
stage 70 "$python" $ops "${common[@]}" --dtype bfloat16 "${large[@]}" --repeats 1 \
  --channels-last --methods "${elas[@]}" CoordAtt
stage 70 "$python" $ops "${common[@]}" --dtype float16 "${real[@]}" --repeats 1 \
  --methods "${elas[@]}" CoordAtt

# Accuracy for as long as the time lasts, where the data and the starting weights are.
spec=benchmarks/accuracy/yolox_nano_bccd/spec.py
if [ -e data/bccd ] && [ -e work_dirs/start.pth ] && [ $((limit - SECONDS)) -gt 60 ]; then
  gpus=(--gpus 0)
  if [ "$device" = cpu ]; then gpus=(--dry-run); fi
  stage $((limit - SECONDS)) "$python" tools/analysis_tools/compare.py $spec --out "$out/compare_bccd" \
    --seeds 10 --jobs 6 "${gpus[@]}"
fi

echo "== total: $SECONDS s"
if [ "${#failed[@]}" -gt 0 ]; then
  printf '== failed: %s\n' "${failed[@]}"
  exit 1
fi
