# Source this file with the name of the script and the path of its log. A script that runs inside
# the new system adds the argument "chroot". Any failure of a script that has sourced this file ends
# the installation.
set -Eeuo pipefail
part=$1 log=$2 place=${3-}
why='no reason given'

{% include "say.sh" %}

{% include "report.sh" %}

# Joins the last lines of a log, without anaconda's time and level, so that a message can contain them. The text is short, because `builder
# serve` keeps only the first 400 characters of a reason (builder/src/serve/log.rs, printable).
last_lines() {
    local text
    text=$(tail -n 3 | sed -E 's/^[0-9:,]+ [A-Z]+ [a-z]+: //')
    text=${text//$'\n'/; }
    echo "${text:0:240}"
}

# Downloads a file. If the download fails, prints the first line of curl's error, because further lines only describe options of curl. With
# a wrong clock, every certificate is invalid, so the error about a certificate contains the time on the machine's clock. Without
# --globoff, curl 7.29 reads the brackets of an IPv6 address as a pattern (7.37.0 added peek_ipv6, tool_urlglob.c).
fetched() { # CURL-ARGUMENT...
    local said code=0
    said=$(curl --globoff --silent --show-error --fail --location --connect-timeout 10 "$@" 2>&1) || code=$?
    if [ "$code" = 0 ]; then return; fi
    said=${said%%$'\n'*}
    if [ "$code" = 60 ]; then said+=" (this machine's clock shows $(date -u +%Y-%m-%dT%H:%M:%SZ))"; fi
    echo "${said:-curl ended with exit code $code}"
    return 1
}

fail() {
    why=$*
    exit 1
}

leave() {
    local code=$? place_of_log
    trap - ERR EXIT
    set +e
    if [ "$code" = 0 ]; then return; fi
    case $why in "line "*) why+=": $(last_lines 2> /dev/null < "$log")" ;; esac
    echo "etcd-image: $part failed: $why"
    # Only the first failure is recorded, because it causes the later failures. The reason does not name a log in the installer's memory,
    # because that log is lost when the machine switches off.
    case $log in
        /tmp/*) place_of_log='' ;;
        *) place_of_log=" Its log is $log." ;;
    esac
    if [ ! -s /run/etcd-image/why ]; then echo "$part failed: $why.$place_of_log" > /run/etcd-image/why; fi
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
