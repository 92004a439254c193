# Source this file with the name of the script and the path of its log. A script that runs inside
# the new system adds the argument "chroot". Any failure of a script that has sourced this file ends
# the installation.
set -Eeuo pipefail
part=$1 log=$2 place=${3-}
why='no reason given'

{% include "say.sh" %}

{% include "report.sh" %}

fail() {
    why=$*
    exit 1
}

leave() {
    local code=$?
    trap - ERR EXIT
    set +e
    if [ "$code" = 0 ]; then return; fi
    echo "etcd-image: $part failed: $why"
    # Only the first failure is recorded, because it causes the later failures.
    if [ ! -s /run/etcd-image/why ]; then echo "$part failed: $why. Its log is $log." > /run/etcd-image/why; fi
    # Inside a chroot, systemctl does nothing and reports success (systemd 219, systemctl.c), so this script leaves the monitor to the next
    # script, which runs outside the chroot.
    if [ "$place" = chroot ]; then exit "$code"; fi
    systemctl stop etcd-image-monitor.service
    # When the monitor stops, it switches the machine off. Do not return, because after a return, anaconda would continue, or print its own
    # error over the monitor's.
    while sleep 60; do :; done
}

trap 'why="line $LINENO: $BASH_COMMAND (exit $?)"' ERR
trap leave EXIT
