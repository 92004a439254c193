# shellcheck shell=sh
#
# This script runs as the first process of separate namespaces. The script makes ROOT look like the file system of an
# installer on a machine, and runs one script of a kickstart in ROOT. The mounts and processes end with the namespaces.
#
#   enter.sh ROOT TARGET IN STATUS CMDLINE SYSRQ HARDWARE [FILE PLACE]... -- PROGRAM...
#
# TARGET is mounted on ROOT/mnt/sysimage, or is `-` if there is no target yet. PROGRAM runs with the folder ROOT/IN as
# its root. The exit code of PROGRAM is written to the file STATUS. HARDWARE contains the kernel's and udev's view of
# the machine. FILE is mounted on ROOT/PLACE.
set -eu
root=$1 target=$2 into=$3 status=$4 cmdline=$5 sysrq=$6 hardware=$7
shift 7

mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --bind "$cmdline" "$root/proc/cmdline"
# A write to the real /proc/sysrq-trigger would affect the test machine. Some kernels do not have
# /proc/sysrq-trigger.
if [ -e "$root/proc/sysrq-trigger" ]; then
    mount --bind "$sysrq" "$root/proc/sysrq-trigger"
fi
mount -t sysfs -o ro sysfs "$root/sys"
mount --bind "$hardware/block" "$root/sys/block"
mount --bind "$hardware/firmware" "$root/sys/firmware"

# None of the test machine's disks is visible here, so a script that partitions a disk cannot destroy anything.
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
cp -a "$hardware/dev/." "$root/dev/"
# Bind-mount the partitions that the test has created for this machine into ROOT/dev.
for device in "$hardware/devices/"*; do
    if [ -e "$device" ]; then
        : > "$root/dev/${device##*/}"
        mount --bind "$(readlink -f "$device")" "$root/dev/${device##*/}"
    fi
done
mkdir -p "$root/run/udev-of-the-bed"
cp "$hardware/udev/"* "$root/run/udev-of-the-bed/" 2> /dev/null || true

while [ "$1" != -- ]; do
    mount --bind "$1" "$root/$2"
    shift 2
done
shift

if [ "$target" != - ]; then
    mkdir -p "$root/mnt/sysimage"
    mount --bind "$target" "$root/mnt/sysimage"
    # blivet, FSSet.mountFilesystems.
    for folder in proc sys dev run; do
        mkdir -p "$root/mnt/sysimage/$folder"
        mount --rbind "$root/$folder" "$root/mnt/sysimage/$folder"
    done
fi

code=0
chroot "$root/$into" "$@" || code=$?
echo "$code" > "$status"
