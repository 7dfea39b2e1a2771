#!/bin/sh
# The driver leaves the device and comes back, with pages there and without; files and pages of processes outlive that.
#: modes spm bar
#: parameters unbind=1
#: limit 1200
. /suites/lib.sh

results unbind
# What keeps the module: an open file, and a page, also when its file is closed.
for what in file page; do
    rm -f /tmp/held
    unbind $what &
    holder=$!
    while [ ! -e /tmp/held ]; do sleep 0.1; done
    if rmmod cxlmem 2>/dev/null; then fail "busy_$what" "rmmod took the module"; else pass "busy_$what"; fi
    kill $holder
    wait $holder 2>/dev/null
done
sleep 0.5
check rmmod "rmmod" rmmod cxlmem
# Without the parameter there is no file to unbind by: who does it must know what waits.
check insmod "insmod" insmod /modules/cxlmem.ko
check no_unbind "sysfs offers unbind" test ! -e /sys/bus/pci/drivers/cxlmem/unbind
finish
