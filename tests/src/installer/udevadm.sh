#!/bin/bash
# The installer's stand-in for udevadm, which prints udev's properties of the machine's disks.
for word; do
    case $word in --path=/sys/block/*) cat "/run/udev-of-the-bed/${word##*/}" ;; esac
done
