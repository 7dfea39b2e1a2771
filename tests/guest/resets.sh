#!/bin/sh
# Function Level Reset and fatal AER errors with pages on the device. (Without reset_prepare the first finds pages on a device that has forgotten
# its decoder; without error_detected the memory behind a BAR reads as it was, and no page is lost.)
#: modes spm bar
#: limit 200
. /suites/lib.sh

modprobe aer_inject 2>/dev/null
results resets
finish
