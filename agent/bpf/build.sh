#!/bin/bash
# Builds the committed objects: flow.bpf.o and, for older kernels (WEIR_OLDER in maps.h), older.bpf.o, which a plain cargo build
# embeds, and the one that tests put beside them.
#   build.sh          rebuild the objects and the hash of their sources
#   build.sh --check  rebuild into a temporary folder and compare with what is committed
# CLANG names the compiler; otherwise clang-19 down to clang-16 and then clang are tried, with the llvm-strip beside it.
set -euo pipefail
cd "$(dirname "$0")"

find_clang() {
	if [ -n "${CLANG:-}" ]; then echo "$CLANG"; return; fi
	for name in clang-19 clang-18 clang-17 clang-16 clang; do
		if command -v "$name" >/dev/null; then echo "$name"; return; fi
	done
	echo "no clang found: install clang-19, or name one in CLANG" >&2
	exit 1
}
clang=$(find_clang)
suffix=$(basename "$clang" | grep -o -- '-[0-9]*$' || true)
strip=${LLVM_STRIP:-llvm-strip$suffix}
command -v "$strip" >/dev/null || { echo "$strip not found: install llvm, or name it in LLVM_STRIP" >&2; exit 1; }
beside=../tests/support/beside.bpf
sources() { sha256sum -- *.c *.h "$beside.c"; }
# compile SOURCE OBJECT [MACRO]
compile() {
	"$clang" -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-declarations \
		-fdebug-compilation-dir=. -I"/usr/include/$(uname -m)-linux-gnu" ${3:+"-D$3"} -c "$1" -o "$2"
	"$strip" -g "$2"
}

if [ "${1:-}" = --check ]; then
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
	sources | cmp - flow.bpf.o.sources || { echo "flow.bpf.o.sources is out of date: run agent/bpf/build.sh" >&2; exit 1; }
	compile flow.bpf.c "$folder/flow.bpf.o"
	compile flow.bpf.c "$folder/older.bpf.o" WEIR_OLDER
	compile "$beside.c" "$folder/beside.bpf.o"
	cmp "$folder/flow.bpf.o" flow.bpf.o && cmp "$folder/older.bpf.o" older.bpf.o && cmp "$folder/beside.bpf.o" "$beside.o" || {
		echo "an object is not what $("$clang" --version | head -1) makes of the sources: run agent/bpf/build.sh" >&2
		exit 1
	}
	exit 0
fi
compile flow.bpf.c flow.bpf.o
compile flow.bpf.c older.bpf.o WEIR_OLDER
compile "$beside.c" "$beside.o"
sources >flow.bpf.o.sources
