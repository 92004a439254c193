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
# Without KVM, a machine needs several milliseconds for each file that it copies and for each module
# that it loads. Therefore, remove the files that no node uses: data of Debian's tools, Python
# modules that firewalld does not import, and the descriptions of services that no zone names.
rm -rf "$root"/usr/share/{bash-completion,ca-certificates,debconf,doc,i18n,info,lintian,locale,man,perl5,zsh}/* \
    "$root"/usr/lib/x86_64-linux-gnu/{gconv,perl-base,libicu*} "$root"/usr/lib/udev/hwdb.* "$root"/usr/lib/apt \
    "$root"/usr/lib/python3.11/{asyncio,curses,distutils,multiprocessing,pydoc_data,test,unittest,venv,wsgiref,xmlrpc} \
    "$root"/usr/lib/python3/dist-packages/{attr,jsonschema,pyrsistent} \
    "$root"/etc/ssl/certs/* "$root"/var/cache/*/* "$root"/var/lib/dpkg/info/*
find "$root/usr/share/zoneinfo" -mindepth 1 -maxdepth 1 -not -name UTC -not -name Etc -exec rm -r {} +
find "$root/usr/lib/python3.11/encodings" -type f -not -name '__init__.*' -not -name 'aliases.*' -not -name 'ascii.*' \
    -not -name 'idna.*' -not -name 'latin_1.*' -not -name 'utf_8.*' -delete
for service in "$root"/usr/lib/firewalld/services/*; do
    grep -rqE "service( name)?=\"$(basename "$service" .xml)\"" "$root/usr/lib/firewalld" || rm "$service"
done
# Remove the units that CentOS does not have, and the units that this machine does not need.
rm -f "$root"/etc/systemd/system/multi-user.target.wants/e2scrub_reap.service "$root"/etc/systemd/system/timers.target.wants/* \
    "$root"/etc/systemd/system/sysinit.target.wants/systemd-pstore.service \
    "$root"/usr/lib/systemd/system/basic.target.wants/selinux-autorelabel-mark.service \
    "$root"/usr/lib/systemd/system/sysinit.target.wants/{kmod-static-nodes,proc-sys-fs-binfmt_misc,sys-{fs,kernel}-*}.* \
    "$root"/usr/lib/systemd/system/sysinit.target.wants/systemd-{binfmt,pcrphase*,repart}.* \
    "$root"/usr/lib/systemd/system-generators/systemd-{cryptsetup,gpt-auto,hibernate-resume,integritysetup,veritysetup}-generator
mkdir -p "$root/usr/lib/modules/$version/kernel" "$root/boot/grub2" "$root/usr/lib/installer"
cp "$kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$root/usr/lib/modules/$version/"
# The initramfs has already loaded the modules for the disk. systemd needs autofs4, and firewalld
# needs the modules of netfilter.
find "$kernel/lib/modules/$version/kernel" \( -name autofs4.ko -o -path '*/netfilter/nf*.ko' \) \
    -exec cp -t "$root/usr/lib/modules/$version/kernel" {} +
depmod -b "$root" "$version"
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

# Debian's chronyd reads /etc/chrony/chrony.conf, but CentOS's chronyd reads /etc/chrony.conf.
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
