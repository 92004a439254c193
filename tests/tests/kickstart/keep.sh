# shellcheck shell=bash
#
# Simulates devices for the %pre script of a recipe with `data = "keep"`. pre.sh sources this file.
# $folder/devices/NAME contains a file for each field that blkid would print. It also contains the
# folder `files` if the device can be mounted, the file `damaged` if xfs_repair finds damage, the
# file `ambivalent` if blkid finds several types, and the file `unreadable` if dd cannot read the
# device. With CUT=N, the script is killed before its Nth call of rm, mkdir, mv or sync.
folder=${folder:?pre.sh sets it}
changes=0

cut_power() {
    changes=$((changes + 1))
    if [ "$changes" = "${CUT-}" ]; then kill -KILL $$; fi
}
blkid() { # -c /dev/null -p [-o value -s FIELD] DEVICE
    if [ "$#" = 4 ]; then
        [ ! -e "$folder/devices/${4#/dev/}/ambivalent" ] || return 8
        [ -e "$folder/devices/${4#/dev/}/TYPE" ] || [ -e "$folder/devices/${4#/dev/}/PTTYPE" ] || return 2
        return
    fi
    cat "$folder/devices/${8#/dev/}/$7" 2> /dev/null
}
mount() { # -t xfs -o OPTIONS DEVICE FOLDER, or -o remount,rw FOLDER
    if [ "$1" = -o ]; then return; fi
    local files=$folder/devices/${5#/dev/}/files
    [ -d "$files" ] || return 32
    rmdir "$6" && ln -s "$files" "$6"
}
umount() {
    rm "$1" && mkdir "$1"
}
dd() { # if=DEVICE …
    [ ! -e "$folder/devices/${1#if=/dev/}/unreadable" ]
}
xfs_repair() { # -n DEVICE
    echo 'Phase 1 - find and verify superblock...'
    [ -e "$folder/devices/${2#/dev/}/damaged" ] || return 0
    printf '%s\n' 'Phase 2 - using internal log' '        - scan filesystem freespace and inode maps...' \
        'sb_fdblocks 12, counted 13' 'No modify flag set, skipping phase 5'
    return 1
}
sync() { cut_power; }
rm() { cut_power && command rm "$@"; }
mkdir() { cut_power && command mkdir "$@"; }
mv() { cut_power && command mv "$@"; }
# Exit when the script stops the monitor, because the real monitor then switches the machine off.
systemctl() {
    if [ "$1" = stop ]; then exit 1; fi
}
