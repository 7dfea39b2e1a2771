#!/bin/sh
# Random calls: nothing hangs, nothing is lost, nothing of others is reached. CXLMEM_SEED=N repeats a run.
#: modes spm
#: limit 1500
. /suites/lib.sh

results fuzz
check rmmod "something keeps the module" rmmod cxlmem
finish
