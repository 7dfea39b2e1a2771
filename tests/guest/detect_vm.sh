#!/bin/sh
# Shows that the debug kernel finds a broken rule of memory management: without this suite, silence would say nothing.
#: kernels debug
#: module no
#: limit 120
#: provokes provoke_vm
. /suites/lib.sh
pass before
check provoked "the module does not load" insmod /modules/provoke.ko what=vm
finish
