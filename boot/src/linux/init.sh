#!/bin/busybox sh
# The init of the built-in Linux guest. It makes the checks that `checks=` on the kernel's command line asks for, in that
# order, and turns the power off if all hold. If one fails it resets, which the hypervisor counts as no success.
b=/bin/busybox
case $checks in
*measure*) ticks=$(/bin/probe ticks) ;;
esac
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
# From here on the console is for the checks; a panic still comes through.
$b dmesg -n 1
failed=

# check NAME COMMAND...: one line with what the command says.
check() {
    name=$1
    shift
    if said=$("$@" 2>&1); then
        echo "ok $name: $said"
    else
        echo "FAILED $name: $said"
        failed=1
    fi
}

# The block device of the disk with this serial number, once it is there.
disk() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        for entry in /sys/block/*; do
            for serial in "$entry/serial" "$entry/device/serial"; do
                [ -r "$serial" ] || continue
                if [ "$($b sed 's/ *$//' "$serial")" = "$1" ]; then
                    echo "/dev/${entry##*/}"
                    return
                fi
            done
        done
        $b sleep 0.2
    done
    echo "there is no disk with the serial number $1"
    return 1
}

# The first network interface that a driver made, once it is there.
interface() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        for entry in /sys/class/net/*/device; do
            [ -e "$entry" ] || continue
            entry=${entry%/device}
            echo "${entry##*/}"
            return
        done
        $b sleep 0.2
    done
    echo "there is no network interface"
    return 1
}

# The host's sectors are read and verified, the guest's are written, flushed and read back.
verify() {
    if ! dev=$(disk "$1"); then
        echo "$dev"
        return 1
    fi
    /bin/probe verify "$dev" && /bin/probe write "$dev"
}

# An ext4 file system is made, used and checked.
filesystem() {
    if ! dev=$(disk "$1"); then
        echo "$dev"
        return 1
    fi
    /bin/mke2fs -q -t ext4 -F "$dev" || return
    $b mount -t ext4 "$dev" /mnt || return
    for number in 1 2 3 4 5 6 7 8; do
        $b mkdir "/mnt/$number" && $b cp /bin/busybox "/mnt/$number/copy" || return
    done
    $b sync
    $b umount /mnt || return
    # What is read now comes from the disk.
    echo 3 >/proc/sys/vm/drop_caches
    /bin/e2fsck -f -n "$dev" >/dev/null 2>&1 || { echo "e2fsck finds errors"; return 1; }
    $b mount -t ext4 -o ro "$dev" /mnt || return
    sum=$($b sha256sum </bin/busybox)
    for number in 1 2 3 4 5 6 7 8; do
        [ "$($b sha256sum <"/mnt/$number/copy")" = "$sum" ] || { echo "copy $number differs"; return 1; }
    done
    $b umount /mnt || return
    echo "ext4 made, 8 files of $($b stat -c %s /bin/busybox) bytes written and read back, e2fsck finds nothing"
}

# An address by DHCP, and a transfer in both directions.
network() {
    if ! dev=$(interface); then
        echo "$dev"
        return 1
    fi
    lease=$($b udhcpc -i "$dev" -q -n -f -t 8 -T 2 -s /etc/lease 2>/dev/null) || { echo "no lease by DHCP"; return 1; }
    echo "$dev has $lease"
    /bin/probe exchange 10.0.2.100 7000
}

# What reads cost. The host tool reads these lines.
measure() {
    if ! dev=$(disk "$1"); then
        echo "$dev"
        return 1
    fi
    echo "$ticks"
    for bytes in 4096 65536 1048576; do
        /bin/probe read "$dev" "$bytes" 64 || return
    done
}

export PATH=/bin
for module in /modules/*.ko; do
    [ -e "$module" ] || continue
    $b insmod "$module" || echo "FAILED module $module"
done
echo "init: Linux $($b uname -r), $($b nproc) CPU, clock source $($b cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
IFS=,
for what in $checks; do
    unset IFS
    case $what in
    panic) echo c >/proc/sysrq-trigger ;;
    *:*) check "$what" "${what%%:*}" "${what#*:}" ;;
    *) check "$what" "$what" ;;
    esac
done
[ -z "$failed" ] && echo "init: everything held" || echo "init: something does not hold"
# Waits until all of that has left.
$b stty -F /dev/console -echo
if [ -n "$failed" ]; then
    $b reboot -f
fi
$b poweroff -f
