#!/usr/bin/env bash
# Gather what nnDistill's GPU tests need beside PyTorch and the usual scientific packages, for a machine where nothing can
# be downloaded:
#
#   tests/gpu/wheels.sh FOLDER [PYTHON]     # PYTHON is the version there, by default 3.12; x86-64, glibc 2.28 or newer
#
# and there, where PyTorch for CUDA is installed:
#
#   python3 -m pip install --no-index --no-deps --target SITE FOLDER/*.whl
#   PYTHONPATH=src:SITE make test-gpu GPU_PYTHON=python3
#
# Versions are those of constraints.txt. PIP names another pip than `python3 -m pip`.
set -euo pipefail
folder=${1:?usage: tests/gpu/wheels.sh FOLDER [PYTHON]}
python=${2:-3.12}
root=$(cd "$(dirname "$0")/../.." && pwd)
read -ra pip <<<"${PIP:-python3 -m pip} --disable-pip-version-check --quiet"

packages=(
  # nnU-Net and what it imports
  nnunetv2 batchgenerators batchgeneratorsv2 acvl-utils dynamic-network-architectures
  SimpleITK blosc2 connected-components-3d nibabel ndindex numexpr yacs
  future unittest2 traceback2 linecache2 graphviz
  # nnDistill's own
  pydantic pydantic-core annotated-types typing-inspection psutil PyWavelets
)
platforms=()
for glibc in manylinux1 manylinux2014 manylinux_2_{5,12,17,24,26,27,28}; do
  platforms+=(--platform "${glibc}_x86_64")
done

mkdir -p "$folder"
for package in "${packages[@]}"; do
  version=$(grep --ignore-case --only-matching --max-count 1 "^$package==[^ ;]*" "$root/constraints.txt") || version=$package
  if ! "${pip[@]}" download --no-deps --only-binary=:all: --dest "$folder" \
    --python-version "$python" --implementation cp "${platforms[@]}" "$version" 2>/dev/null; then
    "${pip[@]}" wheel --no-deps --wheel-dir "$folder" "$version" # source alone: plain Python, one wheel for all
  fi
done
if compgen -G "$folder/*-linux_*.whl" >/dev/null; then
  echo "some wheels were built for this machine's Python and may not fit Python $python" >&2
fi
"${pip[@]}" wheel --no-deps --wheel-dir "$folder" "$root" # nnDistill asks for its own version
du --summarize --human-readable "$folder"
