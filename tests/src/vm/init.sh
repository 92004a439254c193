#!/bin/busybox sh
# shellcheck shell=dash
#
# The first program of a test's virtual machine. The script loads the modules for the disk and the
# network, mounts the root file system, and starts the init program.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
# The order matters, because each module needs the modules before it. Some kernels have some of
# these modules built in.
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk failover net_failover \
    virtio_net libcrc32c xfs qemu_fw_cfg; do
    if [ -e "/modules/$module.ko" ]; then /bin/busybox insmod "/modules/$module.ko"; fi
done
/bin/busybox mount -t xfs /dev/vda /root || exec /bin/busybox reboot -f
init=/sbin/init
read -r line < /proc/cmdline
for word in $line; do
    case $word in init=*) init=${word#init=} ;; esac
done
/bin/busybox umount /proc /sys
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root "$init"
