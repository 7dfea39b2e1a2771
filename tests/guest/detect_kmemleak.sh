#!/bin/sh
# Shows that the debug kernel finds memory that nobody gives back: without this suite, silence would say nothing.
#: kernels debug
#: module no
#: limit 120
#: provokes kmemleak: 
. /suites/lib.sh
pass before
check provoked "the module does not load" insmod /modules/provoke.ko what=kmemleak
finish
