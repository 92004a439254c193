#!/bin/busybox sh
# shellcheck shell=dash
#
# The first program of the installation tree's initramfs, in place of dracut. With inst.stage2=,
# this script fetches the installer's root file system and starts the installer. Without this
# argument, this script mounts and starts the installed system.
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /run /image /system
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# The order matters, because each module needs the modules before it. Some kernels have some of
# these modules built in.
modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk failover net_failover virtio_net libcrc32c crc32c-intel xfs loop squashfs overlay"
for module in $modules; do
    if [ -e "/modules/$module.ko" ]; then insmod "/modules/$module.ko"; fi
done
read -r line < /proc/cmdline
stage2='' card='' root='' flags=''
for word in $line; do
    case $word in
        inst.stage2=*) stage2=${word#*=} ;;
        BOOTIF=*) card=${word#BOOTIF=01-} ;;
        root=*) root=${word#root=} ;;
        rootflags=*) flags=,${word#rootflags=} ;;
    esac
done
fail() {
    echo "dracut: $*"
    exec poweroff -f
}

start() {
    umount /proc /sys
    mount --move /dev "$1/dev"
    exec switch_root "$1" /sbin/init
}

if [ -z "$stage2" ]; then
    device=$(findfs "$root") || fail "there is no $root"
    mount -t xfs -o "ro$flags" "$device" /system || fail "cannot mount $device"
    start /system
fi

# BOOTIF contains the MAC address of the network card that ip=dhcp configures (anaconda,
# dracut/parse-anaconda-net.sh).
interface=
for path in /sys/class/net/*; do
    if [ "$(tr : - < "$path/address")" = "$card" ]; then interface=${path##*/}; fi
done
[ -n "$interface" ] || fail "no network card has the address $card"
cat > /dhcp <<'DHCP'
#!/bin/busybox sh
if [ "$1" = bound ]; then
    ip addr add "$ip/${mask:-24}" dev "$interface"
    if [ -n "$router" ]; then ip route add default via "${router%% *}"; fi
fi
DHCP
chmod 755 /dhcp
ip link set "$interface" up
udhcpc -i "$interface" -n -q -t 20 -s /dhcp || fail 'no DHCP server answers'
wget -q -O /squashfs.img "$stage2/LiveOS/squashfs.img" || fail "cannot fetch $stage2/LiveOS/squashfs.img"
mount -t squashfs -o loop,ro /squashfs.img /image || fail 'cannot mount the image of the installer'
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/upper /run/work
mount -t overlay -o lowerdir=/image,upperdir=/run/upper,workdir=/run/work overlay /system || fail 'cannot mount the overlay'
start /system
