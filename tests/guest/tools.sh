#!/bin/sh
# The `cxlmem` command in the guest: which pages of a process are on the device, and the benchmarks on its node. (Leaving a page out fails pages_there,
# mapping and account; not moving the working set fails latency.)
#: modes spm bar
#: limit 120
. /suites/lib.sh

if ! cxlmem --version >/tmp/version 2>&1; then
    skip tools "this program, built for the host, does not run in the guest: $(head -c 200 /tmp/version)"
    finish
fi
memory=$(echo /sys/bus/pci/drivers/cxlmem/0*/device_memory)
all=$(cat "$memory/free_pages")

# says NAME STATUS WORDS COMMAND...: passes if the command ends with that status and its errors hold the words.
says() {
    name=$1 status=$2 words=$3
    shift 3
    "$@" >/tmp/out 2>/tmp/err
    found=$?
    if [ $found != "$status" ]; then
        fail "$name" "status $found, not $status: $(tr '\n' ' ' </tmp/err)"
    elif ! grep -q "$words" /tmp/err; then
        fail "$name" "it does not say \"$words\": $(tr '\n' ' ' </tmp/err)"
    else
        pass "$name"
    fi
}

# same NAME WHAT FOUND WANTED
same() { if [ "$3" = "$4" ]; then pass "$1"; else fail "$1" "$2: $3, not $4"; fi; }

# on PID: pages on the device and present pages, of the whole process.
on() { cxlmem pages "$1" --json - | sed -n '/"total"/,$ s/.*"\(on_devices\|present\)": \([0-9]*\).*/\2/p' | tr '\n' ' '; }

# ---- pages of a process ----
rm -f /tmp/there /tmp/home
tools hold 37 &
holder=$!
while [ ! -e /tmp/there ]; do sleep 0.05; done
set -- $(on $holder)
present=$2
same pages_there "pages on the device" "$1" 37
same account "the module's own account" "$1" "$(sed -n "s/^$holder \([0-9]*\) .*/\1/p" /sys/kernel/debug/cxlmem/cxlmem0/processes)"
# mapping: pages, present and on the device, of the one mapping that has them.
mapping() {
    cxlmem pages $holder >/tmp/table
    sed -n "s/.* $(printf %x "$(cat /tmp/there)")-[0-9a-f]* *rw-p *\([0-9]*\) *\([0-9]*\) *\([0-9]*\) .*/\1 \2 \3/p" /tmp/table
}
same mapping "pages, present and on the device in the mapping" "$(mapping)" "37 37 37"
same total "the last line" "$(tail -1 /tmp/table | sed 's/ (.*): / /; s/ (.*)//')" "process $holder 37 of $present present pages on cxlmem0"
kill -USR1 $holder
while [ ! -e /tmp/home ]; do sleep 0.05; done
set -- $(on $holder)
same pages_home "pages on the device" "$1" 0
same mapping_home "pages, present and on the device in the mapping" "$(mapping)" "37 37 0"
says pages_unprivileged 1 "run as root" tools nobody cxlmem pages $holder
kill $holder
wait $holder 2>/dev/null
says pages_no_process 1 "there is no process $holder" cxlmem pages $holder
says pages_kernel_thread 1 "no memory of its own" cxlmem pages 2
says pages_bad_number 2 "0 is not in" cxlmem pages 0
chmod 666 /dev/cxlmem0
says pages_hidden 1 "hides physical addresses" tools nobody sh -c 'exec cxlmem pages $$'
chmod 600 /dev/cxlmem0

# ---- benchmarks ----
# bench NAME ARGUMENTS...: passes if the benchmark on the device ends well.
bench() {
    name=$1
    shift
    rm -f /tmp/bench.json
    if cxlmem bench "$@" --quick --target dev:/dev/cxlmem0 --seed 3 --json /tmp/bench.json >/tmp/out 2>&1; then
        pass "$name"
    else
        fail "$name" "status $?: $(tr '\n' ' ' </tmp/out)"
    fi
}
# figure ID: its class, and in a line of its own its value.
figure() { grep -B2 -A4 "\"id\": \"$1\"" /tmp/bench.json | sed -n 's/.*"\(value\|class\)": "\{0,1\}\([^",]*\)"\{0,1\},$/\2/p'; }
# between ID CLASS LEAST MOST
between() {
    class=$(figure "$1" | head -1)
    value=$(figure "$1" | tail -1)
    if [ "$class" != "$2" ]; then
        fail "$1" "its class is \"$class\", not \"$2\""
    elif ! awk -v v="$value" -v a="$3" -v b="$4" 'BEGIN { exit !(v + 0 >= a && v + 0 <= b) }'; then
        fail "$1" "$value is not within $3 and $4"
    else
        pass "$1" "$value"
    fi
}
# Wide bounds: what is not measured at all is outside. Both memories are RAM here, so a ratio far from 1 would be a walk through something else.
bench latency latency
between dram.read.ns.16MiB emulated 0.2 100000
between node.read.ns.16KiB emulated 0.2 100000
between node.read.ns.16MiB emulated 0.2 100000
between node.write.ns.1MiB emulated 0.2 100000
between node.read.ratio.16MiB emulated 0.1 10
check simulated "the device does not say that it is a simulation" grep -q '"is_simulated": true' /tmp/bench.json
check mode "where the memory is" grep -q "\"memory\": \"$CXLMEM_MODE\"" /tmp/bench.json
# What only the simulator can give is left out.
if grep -q 'idle\|"measured here"' /tmp/bench.json; then fail honest "there are figures that nothing here can show"; else pass honest; fi
bench bandwidth bandwidth
between node.bandwidth.read.bytes_per_s emulated 1e6 1e12
between node.bandwidth.copy.ratio emulated 0.02 50
bench migrate migrate
between node.migrate.intact emulated 1 1
between node.migrate.to_device.engine.pages_per_s.256KiB emulated 10 1e7
between node.migrate.to_host.cpu.pages_per_s.256KiB emulated 100 1e7
# 16 bytes a cycle at best.
between node.migrate.to_device.engine.cycles_per_page.256KiB simulated 256 5000
between node.migrate.to_host.engine.cycles_per_page.256KiB simulated 256 5000
between node.engine.intact simulated 1 1
between node.engine.sum.bytes_per_cycle simulated 1 16
between node.engine.fill.bytes_per_cycle simulated 1 16
between node.engine.fetch_add.cycles simulated 4 2000
same all_home "free pages" "$(cat "$memory/free_pages")" "$all"

says no_node 1 "there is no /dev/cxlmem7: load the driver's module" cxlmem bench latency --target dev:/dev/cxlmem7
says other_node 1 "/dev/null is not a cxlmem device" cxlmem bench latency --target dev:/dev/null
says no_device_file 1 "no character device" cxlmem bench latency --target dev:/init
says unprivileged 1 "mode 0600" tools nobody cxlmem bench latency --target dev:/dev/cxlmem0
says serial 1 "there is no such port" cxlmem bench latency --target serial:/dev/ttyNONE
says locality 2 "locality" cxlmem bench locality --target dev:/dev/cxlmem0
says config 2 "its own configuration" cxlmem bench latency --config full --target dev:/dev/cxlmem0

# With room for 100 pages, what needs more is not measured, and says so.
rm -f /tmp/there
tools hold $((all - 100)) &
holder=$!
while [ ! -e /tmp/there ]; do sleep 0.1; done
bench nearly_full latency
between node.write.ns.16KiB emulated 0.2 100000
between node.read.ns.1MiB "not run" 0 0
kill $holder
wait $holder 2>/dev/null

check rmmod "rmmod" rmmod cxlmem
says pages_no_device 1 "no cxlmem device is there" cxlmem pages 1
finish
