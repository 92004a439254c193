# Gives the new system the volume and the journal that %pre has kept (keep-volume.sh).
kept=/var/lib/etcd/firstboot-kept state=/var/lib/firstboot

# Mounts the volume over the empty directory that anaconda has created. anaconda has not mounted the
# volume: the mount point is the home directory of etcd's account, and anaconda would have made this
# account the owner of everything on the volume (users.py, createUser).
mount_kept() {
    mkdir -p /var/lib/etcd
    chown root:root /var/lib/etcd
    mount -t xfs -o {{ tuning.mount_options }} "$(cat /run/etcd-image/keep)" /var/lib/etcd
    [ ! -e /var/lib/etcd/data ] || [ "$(stat -c %u:%g /var/lib/etcd/data)" = "$wanted" ] ||
        fail "the data belongs to $(stat -c %u:%g /var/lib/etcd/data), and etcd has the ids $wanted. The data is unchanged [keep-owner]"
}

# Each file gets its final name only after it is durable. The journal gets its final name last.
restore_journal() {
    local file
    for file in keys.pem next-keys.pem node.json journal; do
        if [ ! -e "$kept/$file" ]; then continue; fi
        (umask 077 && cat "$kept/$file" > "$state/$file.new")
        sync
        mv "$state/$file.new" "$state/$file"
    done
    sync
}

# Removes the copy, which is no longer needed because the new journal is durable, and unmounts the volume. The journal in the
# copy is removed first, because a copy without a journal is ignored.
release_kept() {
    rm -f "$kept/journal"
    rm -rf "$kept" "$kept.new"
    umount /var/lib/etcd
}
