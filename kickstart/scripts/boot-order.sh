# Puts the firmware's entry of this boot in front of the boot order again, if the machine has UEFI and `builder serve` installs it.
# Otherwise, the machine would never boot from the network again, because anaconda has put its own entry for the disk in front, and does
# so even with inst.leavebootorder (bootloader.py, EFIGRUB.install; efibootmgr 17, efibootmgr.c, add_to_order). The installation continues
# if the order cannot be changed.
boot_from_network_first() {
    local shown key value current='' order='' entry entries wanted
    if [ ! -d /sys/firmware/efi ] || [ -z "$(report_to)" ]; then return; fi
    shown=$(efibootmgr) || { say 'the boot order is unchanged, because efibootmgr cannot read it' && return; }
    # efibootmgr prints an entry in the case of its variable's name, and the order in upper case.
    shown=${shown^^}
    while read -r key value; do
        case $key in BOOTCURRENT:) current=$value ;; BOOTORDER:) order=$value ;; esac
    done <<< "$shown"
    case ,$order, in
        ",$current,"*) return ;;
        *",$current,"*) wanted=$current ;;
        *) return ;;
    esac
    IFS=, read -r -a entries <<< "$order"
    for entry in "${entries[@]}"; do
        # efibootmgr refuses an order that contains an entry without a variable (parse_order).
        case $shown in *$'\n'"BOOT$entry"[\ *]*) ;; *) continue ;; esac
        if [ "$entry" != "$current" ]; then wanted+=,$entry; fi
    done
    efibootmgr --quiet --bootorder "$wanted" || { say 'the boot order is unchanged, because efibootmgr cannot write it' && return; }
    say "the firmware boots from the network first again: BootOrder $wanted"
}
