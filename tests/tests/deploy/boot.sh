#!/bin/sh
# Boots systemd on a node of the lab, with the host's programs and nothing else of the host's files. $1: the
# node's directory, in which are: etc (for /etc/nllb), unit (for /etc/systemd/system), bin (for
# /usr/local/bin). The network is the node's, and its cgroup is the root of systemd's.
set -e
if [ -z "$APART" ]; then
    exec env APART=1 unshare --mount --pid --uts --ipc --cgroup --fork --kill-child "$0" "$@"
fi
mount --make-rslave /
root=$1/root
mkdir -p "$root"
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p usr etc/nllb etc/systemd/system dev proc sys run tmp var/lib var/log var/tmp root
mount --rbind --make-rslave /usr usr
for top in bin sbin lib lib64; do
    ln -s "usr/$top" "$top"
done
for file in group ld.so.cache passwd; do
    cp "/etc/$file" etc
done
mount --bind "$1/bin" usr/local/bin
mount --bind "$1/etc" etc/nllb
mount --bind "$1/unit" etc/systemd/system
mount --rbind --make-rslave /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --bind /sys/fs/bpf sys/fs/bpf
mount -t tmpfs tmpfs run
mkdir run/netns
mount --rbind --make-rslave /run/netns run/netns
# Of units there are ours and the few that every unit depends on, not those that the host happens to have.
for target in basic local-fs shutdown sysinit; do
    printf '[Unit]\nDefaultDependencies=no\n' > "etc/systemd/system/$target.target"
done
echo 6e6c6c62000000000000000000000000 > etc/machine-id
exec env -i container=lab PATH=/usr/sbin:/usr/bin SYSTEMD_UNIT_PATH=/etc/systemd/system \
    chroot . /lib/systemd/systemd \
    --unit=nllb.service --log-target=console --show-status=no
