#!/bin/bash
# Builds the program of the native runtime for this machine. Does nothing when it is newer than its sources.
set -euo pipefail
cd "$(dirname "$0")/../src/openhtc/agent/native"

program=bin/openhtc-slot
if [ -x "$program" ] && [ -z "$(find c -newer "$program" -print -quit)" ]; then exit 0; fi
compiler=$(command -v "${CC:-cc}" || command -v gcc) || { echo "build-native: a C compiler is needed (package gcc)" >&2; exit 1; }
mkdir -p bin
"$compiler" -std=gnu11 -O2 -g0 -Wall -Wextra -Wshadow -Wconversion -Werror -static -o "$program.new" c/*.c
mv "$program.new" "$program"
