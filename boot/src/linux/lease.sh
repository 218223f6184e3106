#!/bin/busybox sh
# What udhcpc does with a lease: its arguments are in the environment.
b=/bin/busybox
case $1 in
deconfig) $b ip link set "$interface" up ;;
bound | renew)
    $b ip addr replace "$ip/${mask:-24}" dev "$interface"
    echo "address $ip/${mask:-24} from ${serverid:-nobody}"
    ;;
esac
