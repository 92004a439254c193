# shellcheck shell=bash
# Runs the %pre script that follows as $1, with everything it writes under the folder $2 and without its machine: the one disk
# is $3, and every server answers. No file of the machine's own is touched, and root is not needed.
folder=$2 disk=$3

curl() {
    while [ "$1" != --output ]; do shift; done
    echo '<repomd/>' > "$2"
}
readlink() {
    echo "${*: -1}"
}
udevadm() { :; }
systemctl() { :; }
# A failure must be seen, not slept over.
sleep() { :; }
poweroff() { kill $$; }

sys=$folder/sys/block/${disk//\//!}
mkdir -p "$sys/device" "$sys/queue" "$sys/holders"
echo 41943040 > "$sys/size"
echo 512 > "$sys/queue/logical_block_size"
echo 0 | tee "$sys/ro" > "$sys/removable"
echo 4095:0 > "$sys/dev"

script=$(<"$1")
# The bed's own folders in place of the machine's, and no console of its own.
script=${script//\/tmp\//$folder/}
script=${script//\/run\//$folder/run/}
script=${script//\/sys\/block/$folder/sys/block}
script=${script//\/sys\/firmware/$folder/sys/firmware}
script=${script//\/dev\/console \/dev\/tty1 \/dev\/ttyS0/$folder/console $folder/tty1}
eval "$script"
