#!/bin/bash
# The main job on 2 ranks: real conformers, the bundled model, a few minutes.
# Neutral library starts (154 atoms) and anions of a conformer search, which
# are neutralised because the model knows no charge.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-runs}
mpirun -n 2 python -m mpiapp.reopt \
    --sdf data/dimers/library_sample.sdf data/dimers/moe_et_5.sdf \
    --model student --charge-policy neutralise \
    --fmax 0.05 --max-steps 200 \
    --output-dir "$out" --output-prefix demo --overwrite

python -m mpiapp.report "$out/demo.h5" --html "$out/demo.html" --quiet
