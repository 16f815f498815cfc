#!/usr/bin/env bash
# Benchmarks, by area. Builds what is measured and what it is measured against, runs both in turn, prints a table and
# writes JSON lines. docs/performance.md says how, and what the figures mean.
#
#   scripts/bench.sh AREA [--quick] [--json FILE] [--only TEXT]
#
#   --quick       few packets and pairs: shows that everything runs; only exact figures (allocations, instructions) must
#                 reach their bars
#   --json FILE   one line per figure
#   --only TEXT   only figures whose name contains TEXT
#
# Needs root for figures over interfaces: they are measured on veth pairs in a network namespace of their own, which is
# gone when the last process in it is, however it ends. Exits 1 if a figure missed its bar.
set -euo pipefail
# shellcheck source=lib/setup.sh
. "$(dirname "$0")/lib/setup.sh"
cd "$top"

areas=$(cd scripts/bench && printf '%s ' *.sh)
area=${1:-}
[ -n "$area" ] && [ -f "scripts/bench/$area.sh" ] || die "which area? there are: ${areas//.sh/}"
shift
# Each area's script builds its contenders and ends by running its driver.
# shellcheck source=/dev/null
. "scripts/bench/$area.sh"
