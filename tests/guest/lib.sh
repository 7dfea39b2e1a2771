# What suites share. A test prints one line: PASS name, FAIL name: why, SKIP name: why.

# report LINE: prints a result, and marks the kernel's log, so that what stands there before belongs to this test or an earlier one.
report() {
    echo "$1"
    echo "<6>cxlmem: result: $1" >/dev/kmsg
}
pass() { report "PASS $1${2:+: $2}"; }
fail() {
    report "FAIL $1: $2"
    failed=1
}
skip() { report "SKIP $1: $2"; }

# check NAME WHY COMMAND...: passes if the command succeeds.
check() {
    name=$1 why=$2
    shift 2
    if "$@" >/tmp/check 2>&1; then pass "$name"; else fail "$name" "$why: $(tr '\n' ' ' </tmp/check)"; fi
}

# results COMMAND...: runs a program that prints results itself; one that does not succeed fails the suite.
results() {
    set -o pipefail
    "$@" 2>&1 | while IFS= read -r line; do
        case $line in
        "PASS "* | "FAIL "* | "SKIP "*) report "$line" ;;
        *) echo "$line" ;;
        esac
    done || failed=1
}

# finish: the last line of a suite. Where there is a detector of leaks, it looks twice: what is younger than five seconds it passes over.
finish() {
    if [ -e /sys/kernel/debug/kmemleak ]; then
        sleep 6
        echo scan >/sys/kernel/debug/kmemleak
        echo scan >/sys/kernel/debug/kmemleak
        # What was leaked, for who reads the log.
        head -n 60 /sys/kernel/debug/kmemleak | while IFS= read -r line; do echo "<6>$line" >/dev/kmsg; done
    fi
    exit "${failed:-0}"
}

# numa_online: gives the specific-purpose range to the kernel as NUMA node 1, by stock dax_hmem and kmem, movable, so that it can be given back.
numa_online() {
    echo online_movable >/sys/devices/system/memory/auto_online_blocks || return 1
    modprobe kmem && modprobe dax_hmem || return 1
    n=0
    while [ ! -e /sys/bus/dax/devices/dax0.0 ]; do
        n=$((n + 1))
        [ $n -lt 100 ] || { echo "no dax0.0 after 10 s"; return 1; }
        sleep 0.1
    done
    case $(readlink /sys/bus/dax/devices/dax0.0/driver) in
    */kmem) ;;
    *)
        modprobe device_dax
        echo dax0.0 >/sys/bus/dax/drivers/device_dax/unbind
        echo dax0.0 >/sys/bus/dax/drivers/kmem/new_id || return 1
        ;;
    esac
    grep -q "Node 1 MemTotal: *[1-9]" /sys/devices/system/node/node1/meminfo
}
