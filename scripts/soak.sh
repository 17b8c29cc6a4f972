#!/usr/bin/env bash
# Lives of many objects while two of a hundred requests are refused in every way that a gateway knows, all
# connections are swallowed every minute, and some jobs cannot be listed, or not be shown for a while: none
# doubled, none overlapped, none held or blocked at the end, and at most three times the requests. Half an
# hour of simulated time, in about a minute a seed; a seed gives the same run each time.
#
#     scripts/soak.sh                      # 200 objects, 30 minutes, seeds 1 to 3
#     SOAK_SEEDS="7 8" SOAK_OBJECTS=500 SOAK_MINUTES=60 scripts/soak.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export SOAK_OBJECTS="${SOAK_OBJECTS:-200}" SOAK_MINUTES="${SOAK_MINUTES:-30}"

for seed in ${SOAK_SEEDS:-1 2 3}; do
    SOAK_SEED="$seed" cargo test --quiet --workspace --test soak -- lives_in_all_kinds --nocapture
done
echo "soak.sh passed"
