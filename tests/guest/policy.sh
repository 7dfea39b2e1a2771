#!/bin/sh
# Pages that move by themselves.
#: modes spm bar
#: limit 120
. /suites/lib.sh

results policy
check rmmod "something keeps the module" rmmod cxlmem
finish
