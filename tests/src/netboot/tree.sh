#!/bin/bash
# Makes an installation tree for virtual machines: a kernel, an initramfs in place of dracut's, and
# an installer's root file system in place of lorax's. The installer copies its own root file system
# to the disk, instead of installing packages.
#
#   tree.sh TREE BASE KERNEL GRUB TOOLS BUSYBOX INIT ANACONDA
#
# KERNEL, GRUB and TOOLS are unpacked packages: the kernel, grub-pc-bin and grub-common. BUSYBOX,
# INIT and ANACONDA are programs.
set -euo pipefail
tree=$1 base=$2 kernel=$3 grub=$4 tools=$5 busybox=$6 init=$7 anaconda=$8
version=$(basename "$kernel"/lib/modules/*)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tree/images/pxeboot" "$tree/LiveOS" "$work/initramfs/bin" "$work/initramfs/modules"

# Make the initramfs. All modules are in one folder, because their file names are unique.
cp "$kernel/boot/vmlinuz-$version" "$tree/images/pxeboot/vmlinuz"
cp "$busybox" "$work/initramfs/bin/busybox"
cp "$init" "$work/initramfs/init"
chmod 755 "$work/initramfs/init"
# shellcheck disable=SC2013 # The line contains several words.
for module in $(sed -n 's/^modules="\(.*\)"$/\1/p' "$init"); do
    find "$kernel/lib/modules/$version" -name "$module.ko" -exec cp -t "$work/initramfs/modules" {} +
done
(cd "$work/initramfs" && find . | ./bin/busybox cpio -o -H newc 2> /dev/null | gzip -1 > "$tree/images/pxeboot/initrd.img")

# Make the root file system: the base system, the kernel, and the boot loader's two files, which the
# installer writes to the disk.
root=$work/root
cp -a "$base" "$root"
# Without KVM, every file takes time to unpack, so remove the files that no node uses.
rm -rf "$root"/usr/share/{doc,man,locale,i18n,info,bash-completion,lintian}/* "$root"/usr/lib/x86_64-linux-gnu/gconv/* "$root"/var/cache/*/*
mkdir -p "$root/usr/lib/modules" "$root/boot/grub2" "$root/usr/lib/installer"
cp -a "$kernel/lib/modules/$version" "$root/usr/lib/modules/"
(
    cd "$root/usr/lib/modules/$version/kernel"
    rm -rf arch/x86/kvm drivers/{gpu,hv,iio,infiniband,input,md,media,net/ethernet,nvme,scsi,target,usb,xen} \
        fs/{9p,afs,btrfs,ceph,cifs,dlm,ext4,f2fs,gfs2,hfs,hfsplus,jfs,nfs,nfsd,nilfs2,ocfs2,orangefs,reiserfs,smbfs_common,udf,ufs} \
        net/{ceph,mptcp,openvswitch,rds,rxrpc,sctp,smc,sunrpc,tipc,vmw_vsock,xfrm}
)
depmod -b "$root" "$version" 2> /dev/null
cp "$kernel/boot/vmlinuz-$version" "$root/boot/vmlinuz"
cp "$tree/images/pxeboot/initrd.img" "$root/boot/initrd.img"
cp "$grub/usr/lib/grub/i386-pc/boot.img" "$root/usr/lib/installer/"
cat > "$work/grub.cfg" <<'CFG'
search --no-floppy --label --set=root boot
configfile ($root)/grub2/grub.cfg
CFG
"$tools/usr/bin/grub-mkimage" --format=i386-pc --directory="$grub/usr/lib/grub/i386-pc" --prefix=/grub2 --config="$work/grub.cfg" \
    --output="$root/usr/lib/installer/core.img" biosdisk part_msdos xfs search search_label normal configfile linux echo serial terminal
cp "$anaconda" "$root/usr/lib/installer/anaconda"

# In place of NetworkManager, systemd-networkd gets the installed system's address by DHCP.
cat > "$root/etc/systemd/network/80-dhcp.network" <<'NETWORK'
[Match]
Name=e*

[Network]
DHCP=ipv4
NETWORK
ln -sf /lib/systemd/system/systemd-networkd.service "$root/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
mkdir -p "$root/etc/systemd/system/network-online.target.wants"
ln -sf /lib/systemd/system/systemd-networkd-wait-online.service "$root/etc/systemd/system/network-online.target.wants/"

# Without KVM, udev can need longer than systemd's default of 90 s to find the partitions.
mkdir -p "$root/etc/systemd/system.conf.d"
cat > "$root/etc/systemd/system.conf.d/slow.conf" <<'SLOW'
[Manager]
DefaultDeviceTimeoutSec=15min
DefaultTimeoutStartSec=15min
SLOW

# CentOS's chronyd reads /etc/chrony.conf.
ln -sf ../chrony.conf "$root/etc/chrony/chrony.conf"

# Write the installer's own units, as in anaconda's packages. The installation removes these units
# from the new system.
cat > "$root/etc/systemd/system/anaconda.service" <<'UNIT'
[Unit]
Description=Anaconda
Conflicts=shutdown.target

[Service]
Type=simple
Environment=PATH=/usr/bin:/bin:/sbin:/usr/sbin HOME=/root LANG=C ETCD_IMAGE_PAUSE=2
ExecStart=/usr/lib/installer/anaconda
StandardOutput=journal+console
StandardError=journal+console
UNIT
cat > "$root/etc/systemd/system/anaconda.target" <<'UNIT'
[Unit]
Description=Anaconda System Services
Requires=basic.target anaconda.service
After=basic.target
UNIT
ln -sf anaconda.target "$root/etc/systemd/system/default.target"
mksquashfs "$root" "$tree/LiveOS/squashfs.img" -comp lz4 -noappend -no-progress -quiet > /dev/null
