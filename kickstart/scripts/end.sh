# The unit etcd-image-monitor runs this script in the installer's own systemd, with one of these arguments:
# - `wait PID` waits until the process with this PID, which is anaconda, has ended. systemd then stops the unit.
# - `end` restarts the machine or switches it off. systemd runs this command when the unit stops, and therefore before every shutdown and
#   reboot.
#
# The tests' stand-in for the installer sets ETCD_IMAGE_PAUSE to 0 seconds. systemd does not set this variable.
if [ "$1" = wait ]; then
    while [ -d "/proc/$2" ]; do sleep 1; done
    exit
fi

{% include "say.sh" %}

{% include "report.sh" %}

{% include "boot-order.sh" %}

# The last script of the kickstart writes this file after the new system has received its installation marker.
if [ -e /run/etcd-image/finished ]; then
    sync
    exec systemctl --force reboot
fi

why=$(cat /run/etcd-image/why 2> /dev/null)
root=/mnt/sysimage
say "INSTALLATION FAILED. ${why:-anaconda ended before the installation was finished. Its screen and its logs show:}"
reason=$why
if [ -z "$why" ]; then
    # A line of anaconda's logs contains its level between two spaces (anaconda_log.py).
    errors=$(grep -hE ' (ERR|CRIT) ' /tmp/packaging.log /tmp/storage.log /tmp/anaconda.log 2> /dev/null | tail -n 5)
    {
        tmux capture-pane -p -t anaconda:main 2> /dev/null | grep . | tail -n 15
        echo "$errors"
    } | while read -r line; do say "$line"; done
    # The server keeps only the first 400 characters of a reason.
    reason="anaconda ended before the installation was finished${errors:+: ${errors##*$'\n'}}"
fi
if [ -d "$root/etc" ]; then
    # anaconda may have installed the boot loader and failed before the first %post.
    boot_from_network_first
    rm -f "$root/etc/firstboot/installed"
    echo "INSTALLATION FAILED. ${why:-anaconda ended before the installation was finished.} This is not an etcd node: install it again." > "$root/etc/issue"
fi
sync
report failed "$reason"
# The message is repeated, because other programs write to the same consoles as they shut down.
for _ in 1 2 3; do
    say "This machine is not an etcd node, and will be switched off in a minute. Correct the cause and install it again."
    sleep "${ETCD_IMAGE_PAUSE:-20}"
done
exec systemctl --force poweroff
