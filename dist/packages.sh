#!/usr/bin/env bash
# Builds the packages of both programs, and then replaces the folder OUT with the new packages.
# Usage: packages.sh PROGRAMS OUT
#
# The same programs and documents produce the same bytes: owners, modes, order and times are fixed.
# The time is SOURCE_DATE_EPOCH if this variable is set. Otherwise, the time is that of the newest
# commit or, outside a Git repository, 2000-01-01. ETCD_IMAGE_DIST is the path of an already built
# `dist` program.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC

programs=$(realpath "$1") out=$(realpath "$2")
cd "$(dirname "$0")/.."
for tool in dpkg-deb rpmbuild; do
    command -v "$tool" > /dev/null || { echo "packages.sh needs $tool: apt-get install dpkg rpm" >&2; exit 1; }
done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
commit_time=$(git --git-dir=.git log -1 --format=%ct 2> /dev/null || echo 946684800)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$commit_time}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root packages=$work/packages
mkdir "$packages"
layout=(cargo run --locked -q -p dist --)
[ -z "${ETCD_IMAGE_DIST-}" ] || layout=("$ETCD_IMAGE_DIST")
"${layout[@]}" "$programs" "$root" "$(date --date="@$SOURCE_DATE_EPOCH" +%F)"
find "$root/usr/share/man" -type f -exec gzip -6n {} +
same_times() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }
same_times "$root"

tar --create --directory="$root" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner \
    --transform="s,^usr,etcd-image-$version," usr | gzip -6n > "$packages/etcd-image-$version-x86_64.tar.gz"

rpmbuild -bb --quiet --define "version $version" --define "root $root" --define "_topdir $work/rpm" \
    --define "_rpmdir $packages" --define "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm" dist/etcd-image.spec

# Debian uses another folder for the zsh completions of packages, and requires the name "copyright" for the licence.
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
ln -s LICENSE "$root/usr/share/doc/etcd-image/copyright"
mkdir "$root/DEBIAN"
sed "s/@VERSION@/$version/; s/@SIZE@/$(du --apparent-size -sk "$root/usr" | cut -f 1)/" dist/control > "$root/DEBIAN/control"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
same_times "$root"
dpkg-deb --root-owner-group -Zgzip -z6 --build "$root" "$packages/etcd-image_${version}_amd64.deb" > /dev/null

(cd "$packages" && sha256sum -- * > SHA256SUMS)
rm -rf "$out"
mv "$packages" "$out"
ls -l "$out"
