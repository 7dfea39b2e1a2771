#!/bin/sh
# Shows that the debug kernel finds sleep under a spinlock: without this suite, silence would say nothing.
#: kernels debug
#: module no
#: limit 120
#: provokes sleeping function called from invalid context
. /suites/lib.sh
pass before
check provoked "the module does not load" insmod /modules/provoke.ko what=sleep
finish
