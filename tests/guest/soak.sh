#!/bin/sh
# Processes that do all at once, for a minute; with --long for ten. CXLMEM_SEED=N repeats what each process does, though not when.
#: modes spm
#: parameters unbind=1
#: limit 800
. /suites/lib.sh

results soak
check rmmod "something keeps the module" rmmod cxlmem
finish
