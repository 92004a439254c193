# shellcheck shell=sh
#
# For step 4.1 of the guide, etcdctl in a root shell uses this node's member and certificate without any options. etcdctl connects
# to localhost, so step 3.2.4 of the guide requires localhost in the certificate. ETCDCTL_API is not set, because 3 is the default
# since etcd 3.4, and etcd 3.6 does not support any other value (etcd, CHANGELOG-3.4, CHANGELOG-3.6).
if [ "$(id -u)" = 0 ]; then
    export ETCDCTL_ENDPOINTS=https://localhost:2379
    export ETCDCTL_CACERT=/etc/etcd/tls/ca.crt
    export ETCDCTL_CERT=/etc/etcd/tls/client.crt
    export ETCDCTL_KEY=/etc/etcd/tls/client.key
fi
