#!/bin/sh
# Shows that the search of the kernel's log finds a warning: without this suite an empty log would look like a healthy one.
#: module no
#: limit 120
#: provokes WARNING: provoked by the suite search
. /suites/lib.sh
pass before
echo "<4>WARNING: provoked by the suite search" >/dev/kmsg
results echo "PASS after"
finish
