#!/bin/sh
# pre-release.sh MODEL: ends with the gate's exit code, and writes the card's results if it may go.
set -eu
attnprobe lint cases
attnprobe gate cases --attn-model="candidate=$1" --keep release/results.json \
    --json release/decision.json
attnprobe card release/results.json > release/model-index.yaml
