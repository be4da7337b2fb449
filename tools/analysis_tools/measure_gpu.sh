#!/bin/bash
# Measures everything that needs a GPU, in at most 15 minutes:
#
#   tools/analysis_tools/measure_gpu.sh [CUDA_DEVICE | cpu] [STAGE ...]
#
# First the kernels are tested against the float64 formula. The stages are independent: one that fails
# or exceeds its time is listed at the end (status 1). The most important ones come first, and every
# measurement is written when it ends, all output to OUT/measure_gpu.log as well. `cpu` rehearses all of
# them on small inputs; its figures say nothing.
#
#   tests     the kernels against the formula
#   layers    layers in bfloat16 on the maps of networks and on large ones
#   networks  DeepLabV3 R50, YOLOX-S, Faster R-CNN R50, with the kernels and without attention
#   training  mixed precision, two processes, torch.compile
#   more      the other layouts and dtypes; the networks without the kernels
#   compare   mmela compare on BCCD in the time that is left, with data/bccd and work_dirs/start.pth
#
# Needs torch for CUDA, torchvision, Triton, pytest, MMEngine, MMCV and both toolboxes; timm and
# pytest-xdist are used if installed. MMCV's CUDA operators are not needed: NMS and RoIAlign are
# torchvision's where they are missing.
#
#   PYTHON  the Python to use            (default .venv/bin/python, or python3)
#   OUT     folder of the results        (default benchmarks/results)
#   LIMIT   seconds for all              (default 900)
#   WHEELS  folder with wheels of what a machine without network lacks; they are installed as they
#           are into a temporary folder. `make setup PYTHON= TORCH=` leaves one of MMCV in its cache.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
device=${1:-cuda:0}
shift
stages=" ${*:-tests layers networks training more compare} "
out=${OUT:-benchmarks/results}
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
limit=${LIMIT:-900}
failed=()
mkdir -p "$out"
exec > >(tee -a "$out/measure_gpu.log") 2>&1
# This checkout, whatever is installed; and the requested device, for the tests too.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
case $device in
  cuda:*)
    IFS=, read -r -a visible <<< "${CUDA_VISIBLE_DEVICES:-}"
    export CUDA_VISIBLE_DEVICES="${visible[${device#cuda:}]:-${device#cuda:}}"
    device=cuda:0
    ;;
esac

# chosen NAME: whether a stage is to run
chosen() { [[ $stages == *" $1 "* ]]; }

# run SECONDS COMMAND ...: one measurement, in that time or in what is left
run() {
  local seconds=$1 begun=$SECONDS status left=$((limit - SECONDS))
  shift
  if [ "$left" -lt 15 ]; then
    failed+=("no time left: $*")
    return 1
  fi
  echo "== $*"
  timeout -k 10 "$((seconds < left ? seconds : left))" "$@"
  status=$?
  echo "== status $status after $((SECONDS - begun)) s"
  [ "$status" -eq 0 ] || failed+=("$*")
  return "$status"
}

if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl ||
    exit 2
  export PYTHONPATH="$PYTHONPATH:$site"
fi

"$python" - "$device" <<'PYTHON' || exit 2
import sys

from mmela import engine
from benchmarks import describe, use_device

with engine.exit_on_user_error():
    print(describe(use_device(sys.argv[1])))
PYTHON

cores=$(getconf _NPROCESSORS_ONLN) parallel=()
"$python" -c 'import xdist' 2> /dev/null && parallel=(-n "$((cores < 8 ? cores : 8))")
ops=tools/analysis_tools/benchmark_ops.py
model=tools/analysis_tools/benchmark_model.py
networks=(
  configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py
  configs/det/yolox/yolox_s-ela-t_8xb8-300e_coco.py
  configs/det/faster_rcnn/faster-rcnn_r50-ela-b-c3-c5_fpn_1x_coco.py
)
elas=('ELA plain' 'ELA lean' 'ELA fused')
layers=("${elas[@]}" SE ECA CBAM CoordAtt 'timm ELA' 'timm CoordAtt')
common=(--device "$device" --out "$out")
bfloat16=("${common[@]}" --dtype bfloat16 --repeats 1)
real=real large=large pairs=(--pairs 300 --dtype bfloat16)
fused=(--label fused --cfg-options model.backbone.plugins.0.cfg.fused=True)
compiled=(4x256x64x64 8x256x40x40)
if [ "$device" = cpu ]; then
  real=2x64x20x20 large=2x64x20x20 compiled=(2x64x20x20) fused=()
  pairs=(--pairs 2 --batch 2 --shape 64 64 --dtype float32)
  bfloat16=("${common[@]}" --dtype float32 --repeats 1)
fi

# timed CONFIG [OPTION ...]: a network at the batch of its config
timed() {
  local options=("${@:2}") align=model.roi_head.bbox_roi_extractor.roi_layer.use_torchvision=True
  if [[ $1 == *faster* ]] && [ "$device" != cpu ]; then  # MMCV's has no bfloat16
    [[ ${options[*]} == *--cfg-options* ]] || options+=(--cfg-options)
    options+=("$align")
  fi
  run 110 "$python" $model "$1" "${common[@]}" "${pairs[@]}" "${options[@]}"
}

if chosen tests; then
  # Most of it is compilation, which several processes share.
  run 200 "$python" -m pytest -q "${parallel[@]}" -m 'long or not long' \
    tests/test_ops/test_{triton_passes,lean,formula,dispatch}.py ||
    echo '== THE KERNELS ARE NOT PROVEN: do not use the figures below before it is known why'
fi

if chosen layers; then
  run 90 "$python" $ops "${bfloat16[@]}" --shapes $real --methods "${layers[@]}"
  run 90 "$python" $ops "${bfloat16[@]}" --shapes $large --methods "${layers[@]}"
  # torch.compile compiles each map anew
  run 90 "$python" $ops "${bfloat16[@]}" --shapes "${compiled[@]}" --methods "${elas[@]}" 'ELA compiled'
fi

if chosen networks; then
  for config in "${networks[@]}"; do timed "$config" "${fused[@]}"; done
fi

if chosen training; then
  run 120 "$python" -m pytest -v "${parallel[@]}" -m long -k 'not compiled' tests/test_on_device.py
  run 120 "$python" -m pytest -v -m long -k compiled tests/test_on_device.py
fi

if chosen more; then
  run 60 "$python" $ops "${bfloat16[@]}" --shapes $large --channels-last --methods "${elas[@]}" CoordAtt
  if [ "$device" != cpu ]; then
    run 60 "$python" $ops "${common[@]}" --dtype float16 --repeats 1 --shapes real \
      --methods "${elas[@]}" CoordAtt
    for config in "${networks[@]}"; do timed "$config"; done
  fi
fi

if chosen compare; then
  folder=$out/compare_bccd
  if ! [ -e data/bccd/annotations ] || ! [ -e work_dirs/start.pth ]; then
    echo '== compare is left out: data/bccd or work_dirs/start.pth is missing'
  elif [ $((limit - SECONDS)) -lt 120 ]; then
    echo '== compare is left out: less than 2 minutes are left'
  else
    # The comparison of benchmarks/accuracy, with a base that can do without MMCV's CUDA operators.
    mkdir -p "$folder"
    printf "_base_ = '%s'\ncustom_imports = dict(imports=['benchmarks.torchvision_nms'])\n" \
      "$PWD/configs/det/yolox/yolox_nano-ela-t_bccd.py" > "$folder/base.py"
    sed "s|^base = .*|base = '$folder/base.py'|" benchmarks/accuracy/yolox_nano_bccd/spec.py \
      > "$folder/on_gpu.py"
    where=(--gpus "${CUDA_VISIBLE_DEVICES:-0}")
    if [ "$device" = cpu ]; then where=(--dry-run); fi
    run "$limit" "$python" tools/analysis_tools/compare.py "$folder/on_gpu.py" --out "$folder" \
      --seeds 5 --jobs 6 "${where[@]}"
  fi
fi

echo "== total: $SECONDS s"
if [ "${#failed[@]}" -gt 0 ]; then
  printf '== failed: %s\n' "${failed[@]}"
  exit 1
fi
