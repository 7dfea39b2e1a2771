#!/bin/sh
# Pages on the device and home again, by the engine in RTL and by the CPU; what the kernel does with them; what the module refuses.
#: modes spm bar
#: limit 400
. /suites/lib.sh

check loaded "the module made no device" test -c /dev/cxlmem0
check memory "where the memory is" grep -q "$CXLMEM_MODE" /sys/bus/pci/drivers/cxlmem/0*/device_memory/memory
results pages
# Resident pages keep the module, and so do open files.
pages hold &
holder=$!
while [ ! -e /tmp/held ]; do sleep 0.1; done
if rmmod cxlmem 2>/dev/null; then fail busy_module "rmmod took a module whose pages are in use"; else pass busy_module; fi
kill $holder
wait $holder 2>/dev/null
sleep 0.5
check rmmod "rmmod" rmmod cxlmem
check insmod "insmod again" insmod /modules/cxlmem.ko
check again "a migration after that" pages cpu_copy
finish
