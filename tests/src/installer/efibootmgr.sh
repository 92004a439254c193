#!/bin/bash
# A stand-in for the installer's efibootmgr 17 (efibootmgr.c). Each file in the folder is a variable of the firmware. The stand-in supports
# --quiet, --bootorder, and a call without arguments.
variables=/sys/firmware/efi/variables-of-the-bed
if [ ! -e "$variables/BootCurrent" ]; then
    echo 'EFI variables are not supported on this system.' >&2
    exit 2
fi
quiet=''
while [ "$#" -gt 0 ]; do
    case $1 in
        -q | --quiet) quiet=1 ;;
        -o | --bootorder)
            shift
            # Models parse_order, which checks each entry.
            IFS=, read -r -a entries <<< "$1"
            for entry in "${entries[@]}"; do
                if [ ! -e "$variables/Boot$entry" ]; then
                    printf 'Invalid BootOrder order entry value\nefibootmgr: entry %s does not exist\n' "$entry" >&2
                    exit 8
                fi
            done
            echo "$1" > "$variables/BootOrder" || exit 8
            ;;
        *) exit 1 ;;
    esac
    shift
done
if [ -n "$quiet" ]; then exit; fi
echo "BootCurrent: $(cat "$variables/BootCurrent")"
echo 'Timeout: 1 seconds'
echo "BootOrder: $(cat "$variables/BootOrder")"
for entry in "$variables"/Boot[0-9]*; do echo "${entry##*/}* $(cat "$entry")"; done
