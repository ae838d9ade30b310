#!/bin/sh
# simulate.sh INDEX RESULT: simulate row INDEX of parameters.csv and write its measures to RESULT, as
# one line of JSON. The circuit's files are beside this script; work is done in the current directory.
set -eu
index=$1
result=$2
circuit=${0%/*}
# ngspice looks for settings of a user at home, and crashes without one.
export HOME="$PWD"

fail() {
    echo "simulate.sh: row $index: $1" >&2
    exit "${2:-1}"
}

cp "$circuit/netlist.cir" netlist.cir
awk -F, -v want="$index" '
    NR == 1 { for (i = 2; i <= NF; i++) name[i] = $i; columns = NF }
    NR > 1 && $1 == want && NF == columns {
        for (i = 2; i <= NF; i++)
            if (name[i] == "temp") print ".temp " $i; else print ".param " name[i] "=" $i
        found = 1
    }
    END { exit !found }
' "$circuit/parameters.csv" > parameters.inc || fail "not in parameters.csv, or incomplete" 2

ngspice -b netlist.cir > ngspice.log 2>&1 || {
    ended=$?
    cat ngspice.log >&2
    fail "ngspice ended with $ended" 3
}

awk -v index_="$index" '
    $2 == "=" { value[$1] = $3 }
    END {
        wanted = split("supply_ua offset_mv gain_db bandwidth_hz turn_deg", name, " ")
        for (i = 1; i <= wanted; i++)
            if (value[name[i]] !~ /^[-+]?[0-9.]+(e[-+]?[0-9]+)?$/) exit 1
        printf "{\"index\": %d, \"gain_db\": %.6g, \"bandwidth_mhz\": %.6g, \"phase_margin_deg\": %.6g,",
            index_, value["gain_db"], value["bandwidth_hz"] / 1e6, 180 + value["turn_deg"]
        printf " \"supply_ua\": %.6g, \"offset_mv\": %.6g}\n", value["supply_ua"], value["offset_mv"]
    }
' ngspice.log > "$result" || {
    cat ngspice.log >&2
    fail "a measure is missing" 4
}
