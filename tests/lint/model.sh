#!/bin/bash
# The models of what becomes durable when hold in every state, and find mistakes.
set -euo pipefail
exec "$(dirname "$0")/../model/run.sh"
