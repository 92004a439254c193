# shellcheck shell=bash
# Runs the %pre script that follows as $1, with everything it writes under the folder $2 and without its machine: the first
# disk is $3, and every server answers. No file of the machine's own is touched, and root is not needed.
folder=$2 disk=$3

curl() {
    while [ "$1" != --output ]; do shift; done
    echo '<repomd/>' > "$2"
}
lsblk() {
    echo "$disk disk 0 0 21474836480"
}
# A failure must be seen, not slept over.
sleep() { :; }
poweroff() { kill $$; }

script=$(<"$1")
# The bed's own folder in place of /tmp, and no console of the machine's.
script=${script//\/tmp\//$folder/}
script=${script//\/dev\/console \/dev\/tty1 \/dev\/ttyS0/$folder/console $folder/tty1}
eval "$script"
