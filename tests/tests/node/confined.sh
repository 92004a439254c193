# Run as root in the virtual machine, once etcd may be there: says what SELinux lets it do. Ends with the machine.
exec > /root/result 2>&1
for _ in $(seq 240); do
    if systemctl is-active --quiet etcd; then break; fi
    sleep 1
done
echo "active: $(systemctl is-active firstboot) $(systemctl is-active etcd)"

# From here on it must do with what the policy lets it.
echo 1 > /sys/fs/selinux/enforce
echo "enforcing: $(cat /sys/fs/selinux/enforce)"
systemctl restart etcd
echo "restarted: $(systemctl is-active etcd)"
for _ in $(seq 20); do
    if systemctl is-active --quiet etcd; then break; fi
    sleep 1
done
echo "domain: $(cat "/proc/$(systemctl show -p MainPID --value etcd)/attr/current")"
. /etc/profile.d/etcdctl.sh
etcdctl put key value
echo "read: $(etcdctl get key --print-value-only)"
etcdctl defrag && echo defragmented
echo "label: $(stat -c %C /var/lib/etcd/data/member/snap/db)"
echo "key: $(stat -c %C /etc/etcd/tls/server.key)"
cat < /dev/null > /dev/tcp/127.0.0.1/2381 && echo 'metrics answer'

# The same domain, but another program in it, and root: what is refused now is refused by SELinux.
chcon -t etcd_exec_t /usr/local/bin/busybox
attempt() {
    local name=$1 code
    shift
    systemd-run --quiet --wait --collect -p NoNewPrivileges=yes -p StandardError=null /usr/local/bin/busybox "$@"
    code=$?
    echo "attempt $name: $code"
}
journalctl --boot --no-pager --output=cat --grep='avc:.*etcd_t' > /root/avc
attempt own cat /var/lib/etcd/data/member/snap/db
attempt certificate cat /etc/etcd/tls/server.crt
attempt shadow cat /etc/shadow
attempt journal ls /var/lib/firstboot
attempt program /usr/bin/true
attempt write touch /etc/etcd/probe
attempt elsewhere touch /var/lib/probe
attempt port timeout 2 nc -l -p 8080 127.0.0.1
sync
systemctl poweroff --force --force
