#!/usr/bin/env bash
# Installs the missing programs that the tests need. With the argument "demo", installs only the
# programs that the demo needs. With the argument "all", also installs the programs that only `make
# test-all` needs. Without root or apt-get, the script only prints the missing packages. A test
# whose packages are missing is ignored, and prints the reason.
set -euo pipefail

# Each program is listed with its Debian package. The tests themselves fetch etcd 3.5.1 with pip,
# and the base system with debootstrap.
needs=(
    debootstrap:debootstrap systemd-nspawn:systemd-container ip:iproute2 nft:nftables curl:curl unshare:util-linux
    setpriv:util-linux pip:python3-pip gcc:gcc
)
if [ "${1-}" != demo ]; then
    needs+=(
        strace:strace openssl:openssl mkfs.xfs:xfsprogs mkfs.vfat:dosfstools mcopy:mtools shellcheck:shellcheck xmllint:libxml2-utils
        qemu-system-x86_64:qemu-system-x86 dnsmasq:dnsmasq-base sesearch:setools age:age zstd:zstd dpkg-deb:dpkg rpmbuild:rpm mandoc:mandoc git:git
        depmod:kmod createrepo_c:createrepo-c genisoimage:genisoimage xorriso:xorriso mksquashfs:squashfs-tools strip:binutils ssh:openssh-client
    )
fi
if [ "${1-}" = all ]; then
    needs+=(chromium:chromium chromedriver:chromium-driver npm:npm)
fi
packages=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" > /dev/null || packages+=("${need##*:}")
done
if [ "${#packages[@]}" = 0 ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "these packages are missing, and installing them needs root and apt-get: ${packages[*]}"
    exit 0
fi
echo "installing with apt-get: ${packages[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
