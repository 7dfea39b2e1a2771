#!/bin/sh
# What the kernel does with device pages when it is in a hurry: frees them in hard interrupts, has no memory, kills processes in the middle.
#: modes spm
#: limit 300
. /suites/lib.sh

# Completions by a timer's interrupt, 50 ms after the request: the memory is unmapped by then.
check null_blk "the module does not load" modprobe null_blk nr_devices=1 irqmode=2 completion_nsec=50000000 hw_queue_depth=128 queue_mode=2
results stress
check rmmod "something keeps the module" rmmod cxlmem
finish
