#!/bin/sh
# Shows that the debug kernel finds locks taken in two orders: without this suite, silence would say nothing.
#: kernels debug
#: module no
#: limit 120
#: provokes possible circular locking dependency
. /suites/lib.sh
pass before
check provoked "the module does not load" insmod /modules/provoke.ko what=lockdep
finish
