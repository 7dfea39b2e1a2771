#!/bin/sh
# Shows that the guest is the one that was asked for.
#: modes spm bar none
#: limit 120
. /suites/lib.sh

case $(uname -r) in
"$CXLMEM_SERIES".* | *"-cxlmem-$CXLMEM_SERIES") pass kernel-version "$(uname -r)" ;;
*) fail kernel-version "$(uname -r) is none of series $CXLMEM_SERIES" ;;
esac

device=
for candidate in /sys/bus/pci/devices/*; do
    if [ "$(cat "$candidate/vendor"):$(cat "$candidate/device")" = "$CXLMEM_ID" ]; then device=$candidate; fi
done
if [ "$CXLMEM_DEVICE" = no ]; then
    skip pci-device "this guest was started without the device"
    if [ -n "$device" ]; then fail no-pci-device "${device##*/} is there"; else pass no-pci-device; fi
elif [ -n "$device" ]; then
    pass pci-device "${device##*/} $CXLMEM_ID"
else
    fail pci-device "no function $CXLMEM_ID among: $(cat /sys/bus/pci/devices/*/uevent | grep PCI_ID | tr '\n' ' ')"
fi

# The firmware's map holds the range on all kernels, /proc/iomem only on some until a driver claims it.
found=
for entry in /sys/firmware/memmap/*; do
    [ "$(cat "$entry/type")" = "Soft Reserved" ] || continue
    start=$(cat "$entry/start") end=$(cat "$entry/end")
    if [ $(((end - start + 1) >> 20)) = "$CXLMEM_SPM_MIB" ]; then found=$start-$end; fi
done
if [ "$CXLMEM_MODE" = spm ]; then
    if [ -n "$found" ]; then pass spm-range "$found"; else fail spm-range "no soft-reserved range of $CXLMEM_SPM_MIB MiB in the firmware's map"; fi
    check spm-node "the kernel knows no second node" grep -q 1 /sys/devices/system/node/possible
elif [ -n "$found" ]; then
    fail no-spm-range "$found is there in mode $CXLMEM_MODE"
else
    pass no-spm-range
fi

check modules "a kernel module does not load" modprobe null_blk nr_devices=0
finish
