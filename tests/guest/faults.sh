#!/bin/sh
# The device does wrong, at a moment that the suite chooses: every process ends, every page has a result and is whole at its source.
#: modes spm bar
#: parameters unbind=1
#: limit 300
. /suites/lib.sh

results faults
check rmmod "something keeps the module" rmmod cxlmem
finish
