#!/bin/bash
# A stand-in for anaconda on a machine with a real systemd. The script runs the kickstart's scripts,
# and ends at the stage that /ks/stage names, in the same way as anaconda 21.48.22.159. /ks/end
# contains the kickstart's last command.
export PATH=/ks/bin:$PATH
stage=$(cat /ks/stage)
echo $$ > /run/anaconda.pid
systemctl set-environment ETCD_IMAGE_PAUSE=1
export ETCD_IMAGE_PAUSE=1
mount --bind /ks/cmdline /proc/cmdline
mount --bind /ks/hardware/block /sys/block
mount --bind /ks/hardware/firmware /sys/firmware
mkdir -p /mnt/sysimage/etc/firstboot /mnt/sysimage/var/log/anaconda

# Models exitHandler in the program anaconda. anaconda registers this handler after it has read the
# kickstart.
leave() {
    systemctl --no-wall "$(cat /ks/end)"
    sleep 600
}

if [ "$stage" = unmonitored ]; then
    systemctl() { [ "$1" != start ]; }
    export -f systemctl
fi
# Models preScriptPass (kickstart.py): if a script fails, anaconda ends.
bash /ks/pre || exit 1
case $stage in
    parse)
        # Models check_kickstart_error: anaconda cannot parse the kickstart.
        echo 'The following problem occurred on line 10 of the kickstart file'
        exit 1
        ;;
    killed)
        kill -KILL $$
        ;;
    storage)
        # In cmdline mode, handleException (exception.py) prints a message, waits for three minutes,
        # and exits with code 1.
        echo '03:00:00,000 ERR anaconda: CmdlineError: The following mandatory spokes are not completed' >> /tmp/anaconda.log
        leave
        ;;
    hangs)
        sleep 600
        ;;
esac
case $stage in
    post) bash /ks/fetch || leave ;;
esac
if [ "$stage" = finished ] || [ "$stage" = crashed-at-last ]; then
    cat /ks/digest > /mnt/sysimage/etc/firstboot/installed
fi
bash /ks/last || leave
if [ "$stage" = crashed-at-last ]; then kill -KILL $$; fi
leave
