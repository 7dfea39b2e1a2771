# What suites share. A test prints one line: PASS name, FAIL name: why, SKIP name: why.
pass() { echo "PASS $1${2:+: $2}"; }
fail() {
    echo "FAIL $1: $2"
    failed=1
}
skip() { echo "SKIP $1: $2"; }
# check NAME WHY COMMAND...: passes if the command succeeds.
check() {
    name=$1 why=$2
    shift 2
    if "$@" >/tmp/check 2>&1; then pass "$name"; else fail "$name" "$why: $(tr '\n' ' ' </tmp/check)"; fi
}
# finish: the last line of a suite.
finish() { exit "${failed:-0}"; }
