# shellcheck shell=bash
#
# Runs as root in the virtual machine, waits for etcd, and prints what SELinux allows etcd to do.
# Finally, the script powers the machine off.
exec > /root/result 2>&1
for _ in $(seq 240); do
    if systemctl is-active --quiet etcd; then break; fi
    sleep 1
done
echo "active: $(systemctl is-active firstboot) $(systemctl is-active etcd)"

# From here on, the policy is enforced.
echo 1 > /sys/fs/selinux/enforce
echo "enforcing: $(cat /sys/fs/selinux/enforce)"
systemctl restart etcd
echo "restarted: $(systemctl is-active etcd)"
for _ in $(seq 20); do
    if systemctl is-active --quiet etcd; then break; fi
    sleep 1
done
echo "domain: $(tr -d '\0' < "/proc/$(systemctl show -p MainPID --value etcd)/attr/current")"
# shellcheck source=/dev/null
. /etc/profile.d/etcdctl.sh
# etcd must first elect itself leader again, which is slow on this machine.
slow=(--command-timeout=120s --dial-timeout=60s)
etcdctl "${slow[@]}" put key value
echo "read: $(etcdctl "${slow[@]}" get key --print-value-only)"
etcdctl "${slow[@]}" defrag && echo defragmented
echo "label: $(stat -c %C /var/lib/etcd/data/member/snap/db)"
echo "key: $(stat -c %C /etc/etcd/tls/server.key)"
cat < /dev/null > /dev/tcp/127.0.0.1/2381 && echo 'metrics answer'

denials() { journalctl --boot --no-pager --output=cat --quiet --grep='avc: .*denied.*:etcd_t:'; }
denials > /root/avc

# Runs busybox as the given user. After the chcon below, busybox runs in etcd's domain. Root can
# read /etc/shadow before the chcon but not after it, which shows that SELinux refuses the access.
attempt() {
    local name=$1 user=$2
    shift 2
    systemd-run --quiet --wait --collect -p NoNewPrivileges=yes -p RuntimeMaxSec=20 -p StandardOutput=null \
        -p StandardError=null -p "User=$user" /usr/local/bin/busybox "$@"
    echo "attempt $name: $?"
}
attempt 'unconfined shadow' root cat /etc/shadow
chcon -t etcd_exec_t /usr/local/bin/busybox
attempt own etcd cat /var/lib/etcd/data/member/snap/db
attempt certificate root cat /etc/etcd/tls/server.crt
attempt shadow root cat /etc/shadow
attempt journal root ls /var/lib/firstboot
attempt write root touch /etc/etcd/probe
attempt elsewhere root touch /var/lib/probe
attempt port root nc -l -p 8080
echo "denials: $(denials | grep -c .)"
cat /sys/fs/selinux/policy > /root/policy
sync
systemctl poweroff --force --force
