#!/bin/sh
# Real programs with what they allocate on device pages (libcxlmem-arena.so): the same results as without. (Seen to fail with
# CXLMEM_ARENA_DEVICE=/dev/null: nothing is on the device then.)
#: modes spm bar
#: limit 300
. /suites/lib.sh

mount -t tmpfs tmpfs /tmp
seq 1 400000 >/tmp/numbers
cat >/tmp/query.sql <<'SQL'
create table t(n integer primary key, s text, h text);
with recursive r(n) as (select 1 union all select n + 1 from r where n < 60000)
insert into t select n, 'row ' || (n * 7919 % 60000), hex(n * n) from r;
create index i on t(s);
select count(*), sum(n), min(s), max(s), total(length(h)) from t;
select substr(s, 1, 6), count(*) from t group by 1 order by 2 desc, 1 limit 5;
delete from t where n % 3 = 0;
select count(*), sum(n) from t where s > 'row 3';
SQL

# twice NAME COMMAND...: runs it without and with the arena; output and pages are compared.
twice() {
    name=$1
    shift
    rm -f /tmp/report
    "$@" >/tmp/plain 2>/tmp/plain.err || { fail "$name" "it fails without the arena: $(head -c 200 /tmp/plain.err)"; return; }
    CXLMEM_ARENA_REPORT=/tmp/report LD_PRELOAD=/lib/libcxlmem-arena.so "$@" >/tmp/arena 2>/tmp/arena.err ||
        { fail "$name" "it fails with the arena: $(head -c 200 /tmp/arena.err)"; return; }
    if ! cmp -s /tmp/plain /tmp/arena; then
        fail "$name" "the output differs"
    elif ! [ "$(sed -n 's/.* \([0-9]*\) on the device/\1/p' /tmp/report)" -gt 100 ]; then
        fail "$name" "too little was on the device: $(cat /tmp/report)"
    else
        pass "$name" "$(cat /tmp/report)"
    fi
}

twice sqlite3 sqlite3 -batch :memory: ".read /tmp/query.sql"
twice zstd zstd -q -c -6 -T2 /tmp/numbers
cp /tmp/arena /tmp/numbers.zst
twice unzstd zstd -q -d -c /tmp/numbers.zst
check same "what was compressed and expanded on the device differs" cmp /tmp/arena /tmp/numbers
check all_home "pages are left on the device" test "$(cat /sys/bus/pci/drivers/cxlmem/0*/device_memory/free_pages)" = "$(cat /sys/bus/pci/drivers/cxlmem/0*/device_memory/pages)"
finish
