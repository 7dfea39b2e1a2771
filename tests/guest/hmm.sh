#!/bin/sh
# The kernel's own HMM tests, unmodified, on two halves of the device's memory. One test needs CONFIG_GUP_TEST, which stock kernels lack.
#: kernels 7.3 debug
#: parameters parts=2
#: limit 500
. /suites/lib.sh

check nodes "cxlmem_hmm.ko does not load" insmod /modules/cxlmem_hmm.ko
mount -t tmpfs tmpfs /tmp
echo 64 >/proc/sys/vm/nr_hugepages
hmm-tests -v hmm_device_coherent -v hmm2_device_coherent >/tmp/hmm.out 2>&1
# TAP: "ok N name # SKIP why" is a skip, whatever it begins with.
while read -r word number name rest; do
    case "$word $number" in
    "ok "[0-9]*)
        case $rest in
        *SKIP*) skip "$name" "${rest#*SKIP }" ;;
        *) pass "$name" ;;
        esac
        ;;
    "not ok")
        name=${rest%% *}
        if [ "${CXLMEM_SLOW:-1}" != 1 ] && grep -q "^# ${name##*.}: Test terminated by timeout" /tmp/hmm.out; then
            skip "$name" "its time in the harness is too short on this kernel"
        else
            fail "$name" "$(grep "^# hmm-tests.c:.*:${name##*.}:\|^# ${name##*.}: " /tmp/hmm.out | head -1)"
        fi
        ;;
    esac
done </tmp/hmm.out
# For who reads the log.
[ -z "$failed" ] || grep '^# ' /tmp/hmm.out
# A test that the harness killed may still be leaving.
n=0
while [ "$(cat /sys/module/cxlmem_hmm/refcnt)" != 0 ] && [ $n -lt 300 ]; do
    n=$((n + 1))
    sleep 0.1
done
# What was left when the nodes were closed.
check all_home "pages are left on the device" test "$(cat /sys/bus/pci/drivers/cxlmem/0*/device_memory/free_pages)" = "$(cat /sys/bus/pci/drivers/cxlmem/0*/device_memory/pages)"
check unload "rmmod cxlmem_hmm" rmmod cxlmem_hmm
finish
