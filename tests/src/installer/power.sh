#!/bin/bash
# The installer's stand-in for poweroff, reboot, halt, shutdown and systemctl. The stand-in records
# the power action in a file and then waits, because no script continues on a machine that is
# switched off. The test bed reads the file and ends the installation. Of the other functions of
# systemctl, the stand-in supports only those that a kickstart needs: daemon-reload, and the start
# and stop of units in /run/systemd/system.
name=${0##*/}
units=/run/systemd/system
if [ "$name" = systemctl ]; then
    words=()
    for word; do
        case $word in
            poweroff | reboot | halt | kexec) words=(power) && break ;;
            -*) ;;
            *) words+=("$word") ;;
        esac
    done
    case ${words[0]-} in
        power) ;;
        daemon-reload) exit ;;
        start)
            # Do not start units of the installer itself.
            if [ -e "$units/${words[1]}" ]; then echo "${words[1]}" >> /run/started; fi
            exit
            ;;
        stop)
            if ! grep -qxF "${words[1]}" /run/started 2> /dev/null; then exit 5; fi
            sed -i "/^${words[1]}\$/d" /run/started
            stop=$(sed -n 's/^ExecStop=//p' "$units/${words[1]}")
            if [ -n "$stop" ]; then exec bash -c "exec $stop"; fi
            exit
            ;;
        *)
            echo "systemctl $*: the stand-in for the installer runs no systemd" >&2
            exit 1
            ;;
    esac
fi
echo "$name $*" > /run/power.part
mv /run/power.part /run/power
exec sleep 3600
