# How scripts/test.sh and scripts/soak.sh count what they run; sourced by both.
# shellcheck shell=bash

passed=0 failed=0 skipped=0 failures=

# counted LOG COMMAND...: runs it, its whole output in LOG, and adds to the sums. Sets
# `code`, `ok`, `bad`, `missed` and `took` of this one. A command with cargo's own sums
# counts by them, another as one; exit 77 means that it could not run here and has said why,
# 124 that `timeout` ended it.
counted() {
    local log=$1 begun=$SECONDS
    shift
    code=0 bad=0
    ("$@") >"$log" 2>&1 </dev/null || code=$?
    # With one thread a test's name stands before what it says.
    missed=$(grep -cE '^(test .* )?skipped: ' "$log" || true)
    if grep -q '^test result: ' "$log"; then
        read -r ok bad < <(sed -nE \
            's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; .*/\1 \2/p' "$log" |
            awk '{ ok += $1; bad += $2 } END { print ok + 0, bad + 0 }')
        # cargo counts a test that returned early as passed.
        ok=$((ok - missed))
    else
        ok=$((code == 0 && missed == 0))
    fi
    if [ "$code" != 0 ] && [ "$bad" = 0 ] && ! { [ "$code" = 77 ] && [ "$missed" -gt 0 ]; }; then
        bad=1
    fi
    if [ "$bad" -gt 0 ]; then
        failures+=$'\n'"${log##*/}"$'\n'$(failing "$log" | tr -d '\0')
        [ "$code" != 124 ] || failures+=$'\n'$(unended "$log" | tr -d '\0')
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + missed))
    took=$((SECONDS - begun))
}

# failing LOG: the end of what each failed test said; where the tests spoke freely, what
# their panics said; without tests, the end of the log.
failing() {
    if grep -q '^test result: FAILED' "$1" && ! grep -q '^---- ' "$1"; then
        grep -E '^test .* FAILED$|^    [a-z_:]+$' "$1" | sort -u
        grep -A 6 ' panicked at ' "$1" | grep -v '^stack backtrace' | head -n 100
    elif grep -q '^test result: FAILED' "$1"; then
        awk '
            function told(    i) {
                for (i = n > 25 ? n - 24 : 1; i <= n; i++) print said[i]
                n = 0
            }
            /^failures:$/ { inside = 1 }
            /^(successes:|test result: )/ { inside = 0; told() }
            /^---- / && inside { told(); print; next }
            inside && NF { said[++n] = $0 }
        ' "$1"
    else
        tail -n 25 "$1"
    fi
}

# unended LOG: what a command was at when its time was over.
unended() {
    echo "the time was over"
    grep -E '^     Running ' "$1" | tail -n 1
    awk '
        / has been running for over / { at[$2] }
        /^test .* \.\.\. (ok|FAILED)/ { delete at[$2] }
        END { for (name in at) print "       not ended: " name }
    ' "$1"
}

# The last lines of a gate, with what failed where somebody sees it who has only the end;
# fails if anything did.
summed() {
    [ -z "$failures" ] || echo "$failures"
    echo "all of it in $SECONDS s"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}
