# Finds the volume of /var/lib/etcd that belongs to this node, and keeps it: anaconda formats the
# other partitions in place and never mounts this volume. If there is any doubt, the installation
# ends before anaconda formats a partition. Otherwise, anaconda would erase firstboot's journal,
# which is on /.
#
# %pre copies the journal to the volume's folder firstboot-kept, and %post copies it to the new /. The journal is normally on /,
# because only a journal outside the volume can reveal that the volume was replaced or emptied. At any moment, at least one of
# these journals is complete: the journal on the old /, the copy, or the journal on the new /. A rename gives the copy its name
# after the copy is durable. %post removes the copy after the new journal is durable, and before it writes the installation
# marker. An installation that was interrupted by a power failure can therefore continue with the journal that exists.
volume='' from='' mounted=''
old=/tmp/etcd-image-root kept=/tmp/etcd-image-volume

refuse_keep() { # ID TEXT
    fail "$2. The data is unchanged [$1]"
}

# Prints a field that blkid reads from a device, without blkid's cache.
about() { # DEVICE FIELD
    blkid -c /dev/null -p -o value -s "$2" "/dev/$1" 2> /dev/null || true
}

# Sets `volume`, and limits `candidates` to the disk of the volume. If a machine has no volume of
# etcd and its disk is empty, it is installed like a new machine.
find_volume() {
    local sys name disk
    for sys in /sys/block/* /sys/block/*/*; do
        disk=${sys#/sys/block/}
        case $disk in */*) [ -e "$sys/partition" ] || continue ;; esac
        name=${sys##*/}
        name=${name//!//}
        if [ "$(about "$name" LABEL)" != etcd ]; then continue; fi
        [ -z "$volume" ] || refuse_keep keep-two-volumes "both $volume and $name have the label etcd: remove or relabel the wrong one"
        if [ "$(about "$name" TYPE)" != xfs ] || [ ! -e "$sys/partition" ]; then
            refuse_keep keep-layout "$name has the label etcd but is not a partition with XFS"
        fi
        case " ${candidates[*]} " in
            *" ${disk%/*} "*) ;;
            *) refuse_keep keep-other-disk "the volume of etcd is $name, but the recipe requires $wanted" ;;
        esac
        volume=$name
        volume_disk=${disk%/*}
    done
    if [ -n "$volume" ]; then candidates=("$volume_disk"); fi
}

# Refuses a disk without a volume of etcd, unless the disk can be read and is empty. blkid exits
# with 2 if it finds nothing or cannot read the disk, and with 8 if it finds signatures that
# contradict each other (blkid(8)).
require_empty() { # DISK
    local sys=/sys/block/${1//\//!} number found=0
    for number in "$sys"/*/partition; do
        if [ -e "$number" ]; then found=1; fi
    done
    if [ "$found" = 0 ]; then
        found=1
        blkid -c /dev/null -p "/dev/$1" > /dev/null 2>&1 || found=$?
    fi
    if [ "$found" = 2 ] && dd if="/dev/$1" of=/dev/null bs=1M count=1 2> /dev/null; then return; fi
    refuse_keep keep-no-volume "$1 has no partition with the label etcd, and either is not empty or cannot be read. To erase it, install once with data = \"wipe\""
}

# Prints the position of a partition on the disk. The position stays the same when the partition loses its label.
place_of() { # PARTITION
    local sys=/sys/block/${disk//\//!}/${1//\//!}
    echo "$(cat "$sys/start") $(cat "$sys/size")"
}

# Sets `boot_part`, `root_part` and `first_part`, and refuses a disk that anaconda would have to partition again.
find_partitions() {
    local sys name role wants=''
    boot_part='' root_part='' first_part=''
    case $first in *biosboot*) wants=biosboot ;; *efi*) wants=efi ;; esac
    for sys in "/sys/block/${disk//\//!}"/*/; do
        [ -e "${sys}partition" ] || continue
        name=${sys%/}
        name=${name##*/}
        name=${name//!//}
        if [ "$name" = "$volume" ]; then continue; fi
        if [ -e "$kept/firstboot-kept/journal" ]; then
            role=$(grep "^[a-z]* $(place_of "$name")\$" "$kept/firstboot-kept/layout") || role=other
            role=${role%% *}
        else
            role=$(about "$name" LABEL)
            # These are the GPT types of the partitions for UEFI, and for GRUB on a BIOS machine.
            case $role:$(about "$name" PART_ENTRY_TYPE) in
                ESP:* | *:c12a7328-f81f-11d2-ba4b-00a0c93ec93b) role=efi ;;
                *:21686148-6449-6e6f-744e-656564454649) role=biosboot ;;
            esac
        fi
        case $role in
            efi | biosboot)
                [ "$role" = "$wants" ] || refuse_keep keep-layout "$name is a partition for a firmware type that this machine does not have"
                role=first
                ;;
            boot | root) ;;
            *) continue ;;
        esac
        role=${role}_part
        [ -z "${!role}" ] || refuse_keep keep-layout "${!role} and $name have the same role, so it is unclear which one to format"
        declare -g "$role=$name"
    done
    if [ -z "$boot_part" ] || [ -z "$root_part" ]; then
        refuse_keep keep-layout "$disk does not have the partitions boot and root of an earlier installation"
    fi
    [ -z "$first" ] || [ -n "$first_part" ] || refuse_keep keep-layout "$disk has no partition for the boot loader"
    require_size "$boot_part" boot "$boot_mb"
    require_size "$root_part" root "$root_mb"
    require_size "$volume" etcd "$etcd_min_mb"
}

# Refuses a partition that is smaller than the recipe requires. anaconda aligns partitions, so a partition that it made can be a few MiB
# smaller than the recipe's value.
require_size() { # PARTITION KEY MIB
    local has
    has=$(place_of "$1")
    has=$((${has#* } / 2048))
    [ "$has" -ge "$(($3 - 8))" ] ||
        refuse_keep keep-size "$1 has $has MiB, but the recipe requires $3 MiB for $2, and data = \"keep\" does not resize partitions. Set $2 in \
[install.partitions] to at most $has MiB, or install once with data = \"wipe\", which erases the disk"
}

# Sets `from` to the folder with the journal: the folder on the old /, or the copy if an earlier installation began to format /. Leaves
# `from` empty if there is no journal.
find_journal() {
    local copy=$kept/firstboot-kept uuid='' lines
    if [ -e "$copy/journal" ]; then uuid=$(cat "$copy/root-uuid"); fi
    mkdir -p "$old"
    if mount -t xfs -o ro,nosuid,nodev,noexec "/dev/$root_part" "$old"; then
        mounted=1
        if [ -e "$old/var/lib/firstboot/journal" ]; then from=$old/var/lib/firstboot; fi
        [ -n "$(about "$root_part" UUID)" ] || refuse_keep keep-root "/dev/$root_part has no UUID"
    elif [ -z "$uuid" ]; then
        refuse_keep keep-root "/dev/$root_part, the old /, cannot be read"
    fi
    if [ -z "$uuid" ]; then return; fi
    if [ -n "$from" ]; then
        # The old system may have continued to run after an installation that ended early.
        lines=$(wc -l < "$copy/journal")
        [ "$(head -n "$lines" "$from/journal" | sha256sum)" = "$(head -n "$lines" "$copy/journal" | sha256sum)" ] ||
            refuse_keep keep-two-journals "the journal on $root_part is not a continuation of its copy on $volume"
    else
        [ "$(about "$root_part" UUID)" != "$uuid" ] || refuse_keep keep-root "the journal on $root_part, the old /, has been lost"
        from=$copy
    fi
}

# Refuses a damaged journal. Each line begins with the first digits of its digest; the last line may be torn.
check_journal() {
    local check='' line found bad=''
    while read -r check line; do
        [ -z "$bad" ] || refuse_keep keep-journal "the journal of firstboot is damaged"
        found=$(printf '%s' "$line" | sha256sum)
        [ "${found:0:16}" = "$check" ] || bad=1
    done < "$from/journal"
}

# Prints the string value that a key has in the newest event of this kind.
event() { # KIND KEY
    local line
    line=$(grep "\"event\":\"$1\"" "$from/journal" | tail -n 1) || return 0
    case $line in *"\"$2\":\""*) ;; *) return 0 ;; esac
    line=${line##*"\"$2\":\""}
    echo "${line%%\"*}"
}

# Prints a UUID with the bytes of its first three fields in reverse order. An upgrade of a machine's virtual hardware can change the byte
# order (recipes/src/machine.rs, is_same_as).
reversed() { # UUID
    echo "${1:6:2}${1:4:2}${1:2:2}${1:0:2}-${1:11:2}${1:9:2}-${1:16:2}${1:14:2}${1:18}"
}

# Refuses a disk of another cluster, node or machine, a journal that does not belong to this volume, and a restore that is in progress.
check_identity() {
    local trust=$from/trust.pub found name id uuid own macs address common='' cards=''
    if [ "$from" = "$old/var/lib/firstboot" ]; then trust=$old/etc/firstboot/trust.pub; fi
    found=$(sha256sum < "$trust") || true
    [ "${found%% *}" = {{ overlay.trust }} ] || refuse_keep keep-other-cluster "the disk belongs to another cluster, with another signing key"
    name=$(event accepted name)
    case $name in
        '' {% for node in nodes %}| {{ node.name }} {% endfor %}) ;;
        *) refuse_keep keep-other-node "the disk belongs to the node $name, which the recipe does not have" ;;
    esac
    uuid=$(event accepted uuid)
    own=$(cat /sys/class/dmi/id/product_uuid 2> /dev/null) || true
    [ -z "$uuid" ] || [ -z "$own" ] || [ "${uuid,,}" = "${own,,}" ] || [ "${uuid,,}" = "$(reversed "${own,,}")" ] ||
        refuse_keep keep-other-machine "$name was set up on the machine with UUID $uuid, but this machine has $own"
    macs=$(grep '"event":"accepted"' "$from/journal" | tail -n 1) || true
    for address in /sys/class/net/*/address; do
        address=$(cat "$address")
        case $address in 00:00:00:00:00:00 | '') continue ;; esac
        cards+=" $address"
        case ${macs,,} in *"\"$address\""*) common=1 ;; esac
    done
    case $macs in *'"macs":["'*) [ -n "$common" ] || [ -z "$cards" ] ||
        refuse_keep keep-other-machine "$name was set up on a machine with other network cards, but this machine has$cards" ;; esac
    id=$(event life nonce)
    found=$(cat "$kept/firstboot-life" 2> /dev/null) || true
    [ "$id" = "$found" ] || refuse_keep keep-other-volume "the journal belongs to the volume with the id ${id:-(none)}, but $volume has the id ${found:-(none)}"
    # `told` begins a restore, and each of the other events ends it (journal/state.rs).
    case $(grep -E '"event":"(told|exchanged|given-up|left|rejoin|life)"' "$from/journal" | tail -n 1) in
        *'"event":"told"'*) refuse_keep keep-restore "a restore is in progress on $name: finish or cancel the restore first" ;;
    esac
}

# Copies the journal to the volume, with the files that let a node continue without an operator.
copy_journal() {
    local new=$kept/firstboot-kept.new file
    mount -o remount,rw "$kept" || refuse_keep keep-volume "/dev/$volume cannot be written"
    rm -rf "$new"
    (umask 077 && mkdir "$new")
    for file in journal node.json keys.pem next-keys.pem; do
        if [ -e "$from/$file" ]; then (umask 077 && cat "$from/$file" > "$new/$file"); fi
    done
    cat "$old/etc/firstboot/trust.pub" > "$new/trust.pub"
    about "$root_part" UUID > "$new/root-uuid"
    {
        echo "boot $(place_of "$boot_part")"
        echo "root $(place_of "$root_part")"
        case $first in
            *biosboot*) echo "biosboot $(place_of "$first_part")" ;;
            *efi*) echo "efi $(place_of "$first_part")" ;;
        esac
    } > "$new/layout"
    sync
    rm -rf "$kept/firstboot-kept"
    mv "$new" "$kept/firstboot-kept"
    sync
}

# Mounts and unmounts the volume, so that XFS replays its log. Refuses a damaged file system, and mounts an undamaged volume
# read-only.
open_volume() {
    mkdir -p "$kept"
    mount -t xfs -o ro,nosuid,nodev,noexec "/dev/$volume" "$kept" || refuse_keep keep-volume "/dev/$volume cannot be mounted"
    umount "$kept"
    # The lines that only name a phase do not describe damage.
    xfs_repair -n "/dev/$volume" > /tmp/etcd-image-repair.log 2>&1 ||
        refuse_keep keep-volume "xfs_repair finds that /dev/$volume is damaged: $(grep -vE '^(Phase | *- |No modify flag set)' \
            /tmp/etcd-image-repair.log | last_lines)"
    mount -t xfs -o ro,nosuid,nodev,noexec "/dev/$volume" "$kept" || refuse_keep keep-volume "/dev/$volume cannot be mounted"
}

keep_volume() {
    local entry
    open_volume
    find_partitions
    find_journal
    if [ -n "$from" ]; then
        check_journal
        check_identity
        if [ "$from" != "$kept/firstboot-kept" ]; then copy_journal; fi
    else
        for entry in "$kept"/* "$kept"/.[!.]*; do
            [ ! -e "$entry" ] || [ "${entry##*/}" = lost+found ] ||
                refuse_keep keep-journal "$volume has data, but the old / has no journal of firstboot"
        done
    fi
    if [ -n "$mounted" ]; then umount "$old"; fi
    umount "$kept" || refuse_keep keep-volume "/dev/$volume cannot be unmounted"
    echo "/dev/$volume" > /run/etcd-image/keep
    say "keeping /dev/$volume"
}
