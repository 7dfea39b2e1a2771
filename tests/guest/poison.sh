#!/bin/sh
# A poisoned line of device memory. (A copy that takes no notice of the engine's status gives no SIGBUS, and the test fails.)
#: modes spm bar
#: fault poison 197
#: fault poison 32965
#: limit 120
. /suites/lib.sh

results poison
finish
