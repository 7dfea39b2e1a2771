#!/bin/sh
# Every allocation in turn fails, in every call and while the driver is bound and unbound: each ends with an errno, and nothing is lost.
#: kernels debug
#: parameters unbind=1
#: limit 300
# An interrupt whose entry in /proc could not be made works without; the kernel takes the entry away all the same, and warns that it is not there.
#: tolerates remove_proc_entry+
. /suites/lib.sh

for point in failslab fail_page_alloc; do
    # Which allocation fails is for the task to say; those that may wait and those of single pages are meant too.
    echo 0 >/sys/kernel/debug/$point/verbose
    echo N >/sys/kernel/debug/$point/ignore-gfp-wait
done
echo N >/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem
echo 0 >/sys/kernel/debug/fail_page_alloc/min-order
results failslab
check rmmod "something keeps the module" rmmod cxlmem
finish
