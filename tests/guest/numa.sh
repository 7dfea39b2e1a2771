#!/bin/sh
# The other way to use the same memory: the range as a NUMA node, by what a stock kernel brings along. Our module is not loaded.
#: module no
#: limit 300
. /suites/lib.sh

if numa_online >/tmp/online 2>&1; then
    pass online
else
    fail online "node 1 has no memory: $(tr '\n' ' ' </tmp/online)"
    finish
fi
size=$(awk '/MemTotal/ {print int($4 / 1024)}' /sys/devices/system/node/node1/meminfo)
# Memory comes in blocks, of which the last may be short of the range's end.
check size "node 1 has $size of $CXLMEM_SPM_MIB MiB" test "$size" -ge $((CXLMEM_SPM_MIB - 128))
check movable "node 1 has a zone that is not movable" sh -c 'awk "/^Node 1, zone/ {zone = \$4} \$1 == \"present\" && zone != \"\" && \$2 > 0 && zone != \"Movable\" {exit 1} /^Node 0/ {zone = \"\"}" /proc/zoneinfo'
check device_free "the module holds the range" sh -c '! grep -q cxlmem /proc/iomem'
# Pages go there and home by move_pages, each checked where it is and what it holds.
if bench quick numa=1 >/tmp/rows 2>/tmp/why; then
    pass migrate "$(grep -c ^ROW /tmp/rows) measurements"
    cat /tmp/rows
else
    fail migrate "$(cut -c 2- /tmp/why)"
fi
finish
