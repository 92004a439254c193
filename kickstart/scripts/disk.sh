# Chooses the disk. With data = "keep", the script chooses the disk that contains etcd's volume. If
# data is not "keep", or no disk contains etcd's volume, the script chooses the disk that the recipe
# names. If the recipe names no disk, the script chooses the first disk that is fixed, writable,
# unused and large enough.
{% if install.keep %}
{% include "keep-volume.sh" %}

{% endif %}
wanted={{ install.disk }}
boot_mb={{ install.boot_mb }} root_mb={{ install.root_mb }} etcd_mb={{ install.etcd_mb }}
# 4096 MiB is the sum of 2 GiB for etcd's default quota, and 2 GiB for the WAL, a snapshot and a defragmentation.
etcd_min_mb=$((etcd_mb > 0 ? etcd_mb : 4096))
need_mb=$((boot_mb + root_mb + etcd_min_mb + 256))

# Prints why the installation cannot use a disk in /sys/block. Prints nothing if the disk is
# suitable.
obstacle() {
    local sys=/sys/block/$1 number holder
    # loop, zram, md and device-mapper devices have no folder `device`.
    if [ ! -e "$sys/device" ]; then echo 'is not a disk' && return; fi
    if [ "$(cat "$sys/device/type" 2> /dev/null)" = 5 ]; then echo 'is an optical drive' && return; fi
    if [ "$(cat "$sys/ro")" != 0 ]; then echo 'is read-only' && return; fi
    if [ -z "$wanted" ] && [ "$(cat "$sys/removable")" != 0 ]; then echo 'is removable' && return; fi
    # In the installer, multipathd has already combined the paths to each multipath disk (lorax, runtime-postinstall.tmpl: multipath.conf).
    for holder in "$sys"/holders/*; do
        case $(cat "$holder/dm/uuid" 2> /dev/null) in mpath-*) echo 'is one path to a multipath disk' && return ;; esac
    done
    case $(udevadm info --query=property --path="$sys" 2> /dev/null) in
        *ID_FS_TYPE=mpath_member*) echo 'is one path to a multipath disk' && return ;;
        *ID_FS_TYPE=linux_raid_member*) ;;
        *ID_FS_TYPE=*_raid_member*) echo 'belongs to a firmware RAID' && return ;;
    esac
    for number in "$sys/dev" "$sys"/*/dev; do
        if [ ! -e "$number" ]; then continue; fi
        # The third field of mountinfo is the device's number (proc(5)), but /proc/swaps lists the device's name.
        if grep -q "^[0-9]* [0-9]* $(cat "$number") " /proc/self/mountinfo; then echo 'is in use' && return; fi
        number=${number%/dev}
        if grep -q "^/dev/${number##*/} " /proc/swaps; then echo 'is in use' && return; fi
    done
{% if install.keep %}
    # keep-volume.sh checks the size of each partition.
    if [ -n "$volume" ]; then return; fi
{% endif %}
    if [ "$(($(cat "$sys/size") / 2048))" -lt "$need_mb" ]; then echo "has $(($(cat "$sys/size") / 2048)) MiB, but $need_mb MiB are needed"; fi
}

# A name in /dev may be a udev link. In /sys, an exclamation mark replaces a slash (cciss!c0d0).
if [ -n "$wanted" ]; then
    device=$(readlink -f "/dev/$wanted") || device=/dev/$wanted
    device=${device#/dev/}
    candidates=("${device//\//!}")
else
    candidates=()
    for sys in /sys/block/*/; do
        sys=${sys%/}
        candidates+=("${sys##*/}")
    done
fi
{% if install.keep %}
find_volume
{% endif %}
disk='' refused=''
for name in "${candidates[@]}"; do
    if [ ! -d "/sys/block/$name" ]; then continue; fi
    against=$(obstacle "$name")
    if [ -z "$against" ]; then
        disk=${name//!//}
        break
    fi
    if [ -e "/sys/block/$name/device" ]; then refused+="${refused:+; }${name//!//} $against"; fi
done
[ -n "$disk" ] || fail "no disk for the node: the recipe requires ${wanted:-any fixed disk} with $need_mb MiB, but ${refused:-there is none}"

# anaconda chooses GPT if an MBR cannot reach the end of the disk. A machine without UEFI then needs a partition for the boot loader
# (blivet, platform.py, bestDiskLabelType; storage_utils.py, verify_gpt_biosboot). The disk label is set here, so that inst.gpt does not
# change it.
sys=/sys/block/${disk//\//!}
sectors=$(($(cat "$sys/size") * 512 / $(cat "$sys/queue/logical_block_size")))
first=
if [ -d /sys/firmware/efi ]; then
    label=gpt first="part /boot/efi --fstype=efi --size=200 --label=ESP --ondisk=$disk"
elif [ "$sectors" -ge 4294967295 ]; then
    label=gpt first="part biosboot --fstype=biosboot --size=1 --ondisk=$disk"
else
    label=msdos
fi

{% if install.keep %}
if [ -n "$volume" ]; then keep_volume; else require_empty "$disk"; fi

{% endif %}
append=
{% if tuning.thp %}
append+=' transparent_hugepage={{ tuning.thp }}'
{% endif %}
{% if "allocsize" in tuning.root_mount_options %}
# The initramfs mounts /, and XFS silently ignores allocsize when / is later remounted with the options in fstab (kernel 3.10,
# xfs_fs_remount). If noatime were the only option, this argument would not be needed.
append+=' rootflags={{ tuning.root_mount_options }}'
{% endif %}
{% if install.console %}
append+=' console=tty0 console={{ install.console }}'
{% endif %}
# The labels match fstab and are the same on every node. There is no LVM, so no device-mapper layer delays etcd's fsync.
{
    echo "ignoredisk --only-use=$disk"
{% if install.keep %}
    # With clearpart --none and --onpart, and without zerombr, anaconda changes only the partitions that these lines name. It does not
    # change the partition table.
    if [ -n "$volume" ]; then
        echo "clearpart --none"
        if [ -n "$first" ]; then echo "${first%--ondisk=*}--onpart=$first_part"; fi
        echo "part /boot --fstype=xfs --label=boot --onpart=$boot_part"
        echo "part / --fstype=xfs --label=root --onpart=$root_part"
    else
{% endif %}
    echo "zerombr"
    echo "clearpart --all --drives=$disk --initlabel --disklabel=$label"
    echo "$first"
    echo "part /boot --fstype=xfs --size=$boot_mb --label=boot --ondisk=$disk"
    echo "part / --fstype=xfs --size=$root_mb --label=root --ondisk=$disk"
    if [ "$etcd_mb" -gt 0 ]; then size="--size=$etcd_mb"; else size="--size=$etcd_min_mb --grow"; fi
    echo "part /var/lib/etcd --fstype=xfs $size --label=etcd --fsoptions={{ tuning.mount_options }} --ondisk=$disk"
{% if install.keep %}
    fi
{% endif %}
    echo "bootloader --location=mbr --boot-drive=$disk --append=\"${append# }\""
    # There is no swap, because a member whose memory has been swapped out can miss heartbeats and lose its leadership. If memory runs out,
    # the kernel should kill the member, and systemd then restarts it.
} > /tmp/disk.ks
