# Writes a message to the log, and to the console, tty1 and ttyS0 if they exist.
say() {
    local console
    echo "etcd-image: $*"
    for console in /dev/console /dev/tty1 /dev/ttyS0; do
        if [ -c "$console" ]; then echo "etcd-image: $*" > "$console" || true; fi
    done 2> /dev/null
}
