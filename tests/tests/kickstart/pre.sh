# shellcheck shell=bash
#
# Runs the %pre script in $1 without a real machine. The script writes only below the folder $2,
# finds only the disk $3, and gets an answer from every server. The script touches no other file of
# the test machine, and does not need root. $4 is a script with further commands for the %pre script.
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
# Do not pause, so that a failure is visible immediately.
sleep() { :; }
poweroff() { kill $$; }

sys=$folder/sys/block/${disk//\//!}
mkdir -p "$sys/device" "$sys/queue" "$sys/holders"
echo 41943040 > "$sys/size"
echo 512 > "$sys/queue/logical_block_size"
echo 0 | tee "$sys/ro" > "$sys/removable"
echo 4095:0 > "$sys/dev"

if [ -n "${4-}" ]; then
    # shellcheck source=/dev/null
    . "$4"
fi
script=$(<"$1")
# Use the test's folders instead of the machine's, and files instead of the consoles.
script=${script//\/tmp\//$folder/}
script=${script//\/run\//$folder/run/}
script=${script//\/sys\/block/$folder/sys/block}
script=${script//\/sys\/firmware/$folder/sys/firmware}
script=${script//\/sys\/class/$folder/sys/class}
script=${script//\/dev\/console \/dev\/tty1 \/dev\/ttyS0/$folder/console $folder/tty1}
eval "$script"
