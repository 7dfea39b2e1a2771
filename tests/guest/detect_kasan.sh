#!/bin/sh
# Shows that the debug kernel finds memory that is used after it was freed: without this suite, silence would say nothing.
#: kernels debug
#: module no
#: limit 120
#: provokes BUG: KASAN: slab-use-after-free in provoke_
. /suites/lib.sh
pass before
check provoked "the module does not load" insmod /modules/provoke.ko what=kasan
finish
