#!/usr/bin/env bash
# Boots another kernel in qemu and runs test programs of the agent in it, as root:
#   run.sh VMLINUZ MODULES PROGRAM[:ARGUMENT,ARGUMENT..] ..
# OLD_KERNEL_ALSO names programs that those start, with their whole paths. VMLINUZ and MODULES (lib/modules/VERSION) come from a distribution's kernel package, unpacked with `dpkg -x`. Needs qemu-system-x86_64,
# busybox (static), cpio; OLD_KERNEL_ACCELERATOR=kvm is faster where it works. Prints what the tests print; exits with 0 if all of them passed.
set -euo pipefail
kernel=$1 modules=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,lib,lib64,etc,proc,sys,dev,tmp,run/netns,var/run,tests}
cp "$(command -v busybox)" "$root/bin/busybox"

# A program with the libraries that it asks for.
copy() {
	local program
	program=$(readlink -f "$(command -v "$1")")
	install -D "$program" "$root${2:-$program}"
	{ ldd "$program" 2> /dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
		[ -e "$root$library" ] || install -D "$(readlink -f "$library")" "$root$library"
	done
}
for tool in bash ip nft nsenter setpriv timeout sysctl ss; do
	# Under the name by which it is called: several are links to one program.
	copy "$tool" "/usr/bin/$tool"
done
for program in ${OLD_KERNEL_ALSO:-}; do
	copy "$program" "$program"
done
# What nft and the C library load by name.
for library in /lib/x86_64-linux-gnu/libnss_files.so.2 /lib/x86_64-linux-gnu/libgcc_s.so.1; do
	[ ! -e "$library" ] || install -D "$library" "$root$library"
done

version=$(basename "$modules")
mkdir -p "$root/lib/modules/$version/kernel/drivers"
cp "$modules"/modules.* "$root/lib/modules/$version/"
cp -r "$modules/kernel/net" "$modules/kernel/lib" "$modules/kernel/crypto" "$modules/kernel/arch" "$root/lib/modules/$version/kernel/" 2> /dev/null || true
cp -r "$modules/kernel/drivers/net" "$root/lib/modules/$version/kernel/drivers/"

number=0
: > "$root/tests/list"
for test in "$@"; do
	program=${test%%:*} arguments=
	[ "$program" = "$test" ] || arguments=${test#*:}
	number=$((number + 1))
	copy "$program" "/tests/$number"
	echo "$number ${arguments//,/ }" >> "$root/tests/list"
done

cat > "$root/init" << 'INIT'
#!/bin/busybox sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mkdir -p /run/netns /sys/fs/bpf
mount -t bpf bpf /sys/fs/bpf; mount -t cgroup2 none /sys/fs/cgroup; mount -t tracefs none /sys/kernel/tracing
# The kernel asks for some of them by this name.
ln -sf /bin/busybox /sbin/modprobe
depmod
for module in sch_ingress cls_bpf veth nf_tables nft_chain_nat nft_masq nft_nat nft_ct nf_conntrack_netlink nft_numgen ipip vxlan dummy; do modprobe -q $module; done
ip link set lo up
echo "old kernel: $(uname -r)"
failed=0
while read -r number arguments; do
	cd /tests
	RUST_BACKTRACE=1 timeout 1500 /tests/$number --test-threads=1 $arguments || failed=1
done < /tests/list
echo "old kernel: ended with $failed"
sync
echo o > /proc/sysrq-trigger
sleep 10
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$root.cpio.gz"
trap 'rm -rf "$root" "$root.cpio.gz" "$root.out"' EXIT
# A watch dog of its own: a guest that hangs ends all the same.
timeout "${OLD_KERNEL_TIMEOUT:-1200}" qemu-system-x86_64 -accel "${OLD_KERNEL_ACCELERATOR:-tcg}" -cpu max -smp 2 -m 3072 -nographic -no-reboot -kernel "$kernel" \
	-initrd "$root.cpio.gz" -append "console=ttyS0 quiet panic=-1 loglevel=3" < /dev/null | tee "$root.out"
grep -q "old kernel: ended with 0" "$root.out"
