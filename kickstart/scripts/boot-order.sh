# If `builder serve` installs a machine with UEFI, moves the entry that started the installer to the
# front of the firmware's boot order. Otherwise, the machine would never boot from the network
# again, because anaconda puts its own entry for the disk first, even with inst.leavebootorder
# (bootloader.py, EFIGRUB.install; efibootmgr 17, efibootmgr.c, add_to_order). If the order cannot
# be changed, the installation continues.
boot_from_network_first() {
    local shown key value current='' order='' entry entries wanted
    if [ ! -d /sys/firmware/efi ] || [ -z "$(report_to)" ]; then return; fi
    shown=$(efibootmgr) || { say 'the boot order is unchanged, because efibootmgr cannot read it' && return; }
    # efibootmgr prints the boot order in upper case, but the number of an entry in the letter case
    # of the entry's variable name.
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
