#!/bin/bash
# Runs one member as its container would: stock root file system (read-only), uid 999, its own PID and mount namespaces,
# a volume, memory for /run/mysqld and /tmp. Arguments: rootfs, directory of the server, entry.sh.
set -eu
rootfs=$1 dir=$2 entry=$3
root=$dir/root
mount --bind "$rootfs" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$dir/volume" "$root/var/lib/mysql"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/run/mysqld"
mount -t tmpfs -o mode=1777,size=256m tmpfs "$root/tmp"
mount --bind "$dir/etc" "$root/etc/shardpair"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
cp "$entry" "$dir/etc/entry.sh"
ulimit -n 2048
exec chroot --userspec=999:999 "$root" /bin/bash /etc/shardpair/entry.sh
