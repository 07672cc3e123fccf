#!/usr/bin/env bash
# Every way in which casyncio is built and tested, one stage after another; a failing stage does not stop the later ones.
#   tools/check.sh                 all stages, but for those that need a system of another version
#   tools/check.sh gcc asan        some
#   tools/check.sh all python-3.15 all, and one of those
#   SHORT=1 tools/check.sh ...     leaves out what mostly says again what another stage has said, and tells what
# Each stage builds below build/<stage> and logs to build/logs/<stage>.log. The last line sums up: N passed, N failed, N skipped.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"
jobs=$(nproc)
short=${SHORT:-} # for continuous integration, whose time is limited
core='^(base|fiber|loop|task|sync|io|process)$' # what knows no protocol

declare -A about=(
    [format]="clang-format has nothing to change"
    [gcc]="gcc, optimised: all tests, symbols and installation among them"
    [clang]="clang, Debug: all tests"
    [asan]="gcc, AddressSanitizer and UBSan, Debug: all tests"
    [uring]="the gcc and the asan build's tests of what has operations, on io_uring"
    [late]="the same on a back end that ends every operation late, in a random order"
    [tsan]="gcc, ThreadSanitizer: all tests"
    [valgrind]="valgrind's memcheck over the C tests of the gcc build"
    [fault]="the n-th allocation, system call, await fails, under AddressSanitizer"
    [fuzz]="what bytes from the network reach, by libFuzzer, some seconds each"
    [aarch64]="AArch64 by Debian's cross compiler, run by qemu: fibers, loop, tasks, sync, processes"
    [musl]="musl, static: everything but HTTP and TLS"
    [tidy]="clang-tidy has nothing to say about src/"
    [python]="the Python face for Debian's python3: its tests, and CPython's own for asyncio"
    [python-asan]="the same, under AddressSanitizer and UBSan"
    [python-tsan]="its extension under ThreadSanitizer: several loops in several threads"
    [python-3.14]="the Python face for CPython 3.14, in a root of Debian sid"
    [python-3.15]="the Python face for CPython 3.15, in a root of Debian sid"
    [python-programs]="the tests that libraries have, on casyncio: aiohttp, asyncpg, ..., in roots of Debian trixie and sid"
)
order=(format gcc clang asan uring late tsan valgrind fault fuzz aarch64 musl tidy python python-asan python-tsan)
more=(python-3.14 python-3.15 python-programs) # only when they are named: they need root, and a Debian mirror that answers

stages=()
for stage in "${@:-all}"; do
    if [ "$stage" = all ]; then stages+=("${order[@]}"); else stages+=("$stage"); fi
done
for stage in "${stages[@]}"; do
    [ -n "${about[$stage]-}" ] || { echo "check.sh: no stage '$stage'; there are: ${order[*]} ${more[*]}" >&2; exit 2; }
done

mkdir -p build/logs
passed=0 failed=0 skipped=0 # of the stage that runs

# configure DIRECTORY OPTION...: every build of the check has warnings as errors, and the tests. What a build leaves out is told.
configure() {
    local directory=$1 generator=()
    shift
    [ -f "$directory/CMakeCache.txt" ] || ! command -v ninja >/dev/null || generator=(-G Ninja)
    cmake -S . -B "$directory" "${generator[@]}" -DCASYNCIO_WERROR=ON -DCASYNCIO_TESTS=ON "$@" || return
    sed -n 's/^--   \([a-z0-9_]*: *no: \|left out\|no C++\)/   \1/p' "$log" >&3
}

# build DIRECTORY [TARGET...]
build() {
    local directory=$1 targets=()
    shift
    [ $# = 0 ] || targets=(--target "$@")
    cmake --build "$directory" --parallel "$jobs" "${targets[@]}"
}

# parts NAME...: those of the targets tests_NAME that exist already
parts() {
    local part
    for part in "$@"; do
        if compgen -G "tests/$part/test_*.c" >/dev/null; then echo "tests_$part"; fi
    done
}

# count_tests JUNIT: adds a ctest run's results, and tells of each test that was skipped what it said of the reason
count_tests() {
    local junit=$1 total bad none
    total=$(sed -n 's/.*[[:space:]]tests="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)
    bad=$(sed -n 's/.*[[:space:]]failures="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)
    none=$(sed -n 's/.*[[:space:]]skipped="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)
    none=$((${none:-0} + $(sed -n 's/.*[[:space:]]disabled="\([0-9]*\)".*/\1/p' "$junit" | head -n 1)))
    passed=$((passed + total - bad - none)) failed=$((failed + bad)) skipped=$((skipped + none))
    awk '/<testcase / { name = $0; sub(/.*<testcase name="/, "", name); sub(/".*/, "", name); skip = 0 }
         /<skipped/ { skip = 1 }
         skip { line = $0; gsub(/<[^>]*>/, "", line); gsub(/^[ \t]+/, "", line)
                if (tolower(line) ~ /skip/ && line !~ /^\[/) reason = line }
         /<\/testcase>/ && skip { print "   skipped: " name (reason ? ": " reason : ""); reason = "" }' "$junit" >&3
}

# run_tests DIRECTORY CTEST-OPTION...
run_tests() {
    local directory=$1 junit code
    shift
    junit=$PWD/build/logs/$stage.xml
    rm -f "$junit"
    echo "==== tests ===="
    ctest --test-dir "$directory" --parallel "$jobs" --timeout 300 --no-tests=error --output-on-failure --output-junit "$junit" "$@"
    code=$?
    if [ -s "$junit" ]; then count_tests "$junit"; else failed=$((failed + 1)); fi
    [ $code = 0 ] || [ $failed -gt 0 ] || failed=$((failed + 1))
    return $code
}

# without_slow DIRECTORY REASON: counts the tests labelled slow, which the caller then leaves out, as skipped, and says why
without_slow() {
    local count
    count=$(ctest --test-dir "$1" -N -L '^slow$' 2>/dev/null | sed -n 's/^Total Tests: //p')
    if [ "${count:-0}" -gt 0 ]; then
        skipped=$((skipped + count))
        echo "   skipped: $count labelled slow: $2" >&3
    fi
}

# The sanitizers of Debian 12 know no address space as random as newer kernels make it (vm.mmap_rnd_bits above 28).
fixed_addresses() {
    if setarch "$(uname -m)" -R true 2>/dev/null; then setarch "$(uname -m)" -R "$@"; else "$@"; fi
}

# gcc's sanitizers rather than clang's: their runtimes come with the compiler, and symbolise without llvm's help.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
[ ! -f tools/tsan.supp ] || TSAN_OPTIONS+=":suppressions=$PWD/tools/tsan.supp"
[ ! -f tools/lsan.supp ] || export LSAN_OPTIONS="suppressions=$PWD/tools/lsan.supp"

# left_out WHAT: the stage is short
left_out() { echo "   left out, since it is to be short: $*" >&3; }

# skip REASON: nothing of the stage can be done here
skip() {
    skipped=$((skipped + 1))
    echo "   skipped: $stage: $*" >&3
}

# What clang-format makes of a file changes from version to version: Debian 12's is the one that counts.
stage_format() {
    if tools/format.sh --is-there; then tools/format.sh --check; else skip "there is no clang-format 14"; fi
}

build_gcc() { configure build/gcc -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo && build build/gcc; }

# The benchmarks are not run, but are kept compiling.
stage_gcc() { build_gcc && build build/gcc bench && run_tests build/gcc; }

# The documentation's programs run in the gcc build and under AddressSanitizer.
configure_clang() { configure build/clang -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug; }
stage_clang() {
    configure_clang && build build/clang || return
    if [ -n "$short" ]; then
        left_out "the tests of HTTP, TLS, the cluster and programs"
        run_tests build/clang -L "$core"
    else
        run_tests build/clang -LE '^docs$'
    fi
}

# With the back end that ends all late, which only the stage `late` chooses.
build_asan() {
    configure build/asan -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DCASYNCIO_SANITIZE=address,undefined \
        -DCASYNCIO_SHARED=OFF -DCASYNCIO_LATE=ON -DCMAKE_C_FLAGS=-O1 && build build/asan || return
    without_slow build/asan "its shadow memory makes them too large"
}

stage_asan() {
    build_asan || return
    if [ -n "$short" ]; then
        left_out "the documentation's programs"
        fixed_addresses_tests build/asan -LE '^(slow|docs)$'
    else
        fixed_addresses_tests build/asan -LE '^slow$'
    fi
}

# What looks at the library from outside, and not at its operations, is left out.
stage_late() {
    build_asan || return
    export CASYNCIO_BACKEND=late
    local without='slow|docs|fiber|base|inspect'
    if [ -n "$short" ]; then
        left_out "programs and the cluster"
        without+='|programs|cluster'
    fi
    fixed_addresses_tests build/asan -LE "^($without)\$"
    local code=$?
    unset CASYNCIO_BACKEND
    return $code
}

# The builds that are there already, and only the parts that have operations.
stage_uring() {
    build_gcc || return
    local code=0
    build/gcc/tests/test_io_uring >/dev/null 2>&1 || code=$?
    if [ $code = 77 ]; then
        skip "this build, or this kernel, has no io_uring"
        return 0
    fi
    code=0
    export CASYNCIO_BACKEND=io_uring
    run_tests build/gcc -L '^(loop|io|process|http|tls)$' -LE '^(slow|programs)$' || code=1
    if [ -f build/asan/CMakeCache.txt ] && build build/asan; then
        fixed_addresses_tests build/asan -L '^(loop|io)$' -LE '^slow$' || code=1
    fi
    unset CASYNCIO_BACKEND
    return $code
}

stage_tsan() {
    configure build/tsan -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCASYNCIO_SANITIZE=thread \
        -DCASYNCIO_SHARED=OFF -DCASYNCIO_TESTING=OFF && build build/tsan || return
    without_slow build/tsan "ThreadSanitizer has room for 8000 fibers and threads"
    local names=()
    if [ -n "$short" ]; then
        left_out "most of the cluster: what its client library's threads call is in two tests"
        names=(-E '^cluster/(jobs|servers|tls|credentials|programs|namespaces)$')
    fi
    fixed_addresses_tests build/tsan -LE '^(slow|docs)$' "${names[@]}"
}

# run_tests, with its ctest run by setarch
fixed_addresses_tests() {
    ctest() { fixed_addresses "$(type -P ctest)" "$@"; }
    run_tests "$@"
    local code=$?
    unset -f ctest
    return $code
}

stage_valgrind() {
    build_gcc || return
    without_slow build/gcc "valgrind makes them some thirty times slower"
    local suppressions=()
    [ ! -f tools/valgrind.supp ] || suppressions=(--suppressions="$PWD/tools/valgrind.supp")
    export CASYNCIO_TEST_WRAPPER="valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect \
--show-leak-kinds=definite,indirect --num-callers=30 --fair-sched=yes ${suppressions[*]-}"
    # The scripts run programs of their own, which the wrapper does not reach.
    if [ -n "$short" ]; then
        left_out "HTTP, TLS, the cluster: AddressSanitizer sees them"
        run_tests build/gcc -L "$core" -LE '^(slow|programs|cxx)$'
    else
        run_tests build/gcc -LE '^(slow|programs|cxx|inspect)$'
    fi
    local code=$?
    unset CASYNCIO_TEST_WRAPPER
    return $code
}

stage_fault() {
    configure build/fault -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DCASYNCIO_SANITIZE=address,undefined \
        -DCASYNCIO_SHARED=OFF -DCASYNCIO_FAULTS=ON -DCMAKE_C_FLAGS=-O1 || return
    # shellcheck disable=SC2046
    build build/fault examples $(parts fault http) || return
    # There if the examples needed it: then so is its own sweep.
    if [ -f build/fault/libcasyncio-http.a ]; then build build/fault test_http_faults || return; fi
    if [ -f build/fault/libcasyncio-cluster.a ]; then build build/fault test_cluster_faults || return; fi
    if [ -n "$short" ]; then
        left_out "most of the points at which the programs are made to fail, and the cluster's"
        export CASYNCIO_SWEEP=10
        fixed_addresses_tests build/fault -L '^fault$' -LE '^cluster$'
    else
        fixed_addresses_tests build/fault -L '^fault$'
    fi
    local code=$?
    sed -n 's/^/   /p' build/fault/tests/fault_sweep.txt >&3
    return $code
}

# fuzz_one TARGET SECONDS: what is found goes to build/fuzz/found, and what makes it fail beside it
fuzz_one() {
    local target=$1 found=build/fuzz/found/$1 corpus=() dict=()
    mkdir -p "$found"
    [ ! -d "fuzz/corpus/$target" ] || corpus=("fuzz/corpus/$target")
    [ ! -f "fuzz/$target.dict" ] || dict=(-dict="fuzz/$target.dict")
    "build/fuzz/fuzz/$target" "${dict[@]}" -max_total_time="$2" -max_len=4096 -timeout=20 -artifact_prefix="build/fuzz/$target-" \
        "$found" "${corpus[@]}" >"build/fuzz/$target.log" 2>&1
}

stage_fuzz() {
    local seconds=${FUZZ_SECONDS:-10} name code=0
    if [ -n "$short" ]; then seconds=5; fi
    command -v clang >/dev/null || { skip "there is no clang"; return 0; }
    configure build/fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 -DCASYNCIO_FUZZ=ON \
        -DCASYNCIO_SHARED=OFF -DCASYNCIO_EXAMPLES=OFF -DCASYNCIO_SANITIZE=address,undefined,fuzzer-no-link &&
        build build/fuzz fuzz || return
    echo "==== tests ===="
    export -f fuzz_one
    for name in build/fuzz/fuzz/*; do [ ! -f "$name" ] || basename "$name"; done |
        fixed_addresses xargs -P "$jobs" -I{} bash -c 'fuzz_one {} '"$seconds"' && echo "{} good" || echo "{} bad"' >build/fuzz/results.txt
    while read -r name result; do
        sed -n '$p' "build/fuzz/$name.log"
        if [ "$result" = good ]; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1)) code=1
            echo "$name bad"
            tail -n 60 "build/fuzz/$name.log"
        fi
    done <build/fuzz/results.txt
    return $code
}

stage_aarch64() {
    configure build/aarch64 -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64.cmake" -DCASYNCIO_SHARED=OFF -DCASYNCIO_HTTP=OFF -DCASYNCIO_TLS=OFF \
        -DCASYNCIO_CLUSTER=OFF -DCASYNCIO_MINI_CMOCKA=ON || return
    # shellcheck disable=SC2046
    build build/aarch64 casyncio_static $(parts base fiber loop task sync process) || return
    without_slow build/aarch64 "qemu makes them some ten times slower"
    CASYNCIO_EMULATED=1 run_tests build/aarch64 -L '^(base|fiber|loop|task|sync|process)$' -LE '^slow$'
}

stage_musl() {
    configure build/musl -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/musl.cmake" -DCASYNCIO_SHARED=OFF -DCASYNCIO_HTTP=OFF -DCASYNCIO_TLS=OFF -DCASYNCIO_CLUSTER=OFF -DCASYNCIO_GLIB=OFF \
        -DCASYNCIO_INSPECT=OFF -DCASYNCIO_MINI_CMOCKA=ON && build build/musl || return
    without_slow build/musl "what they measure does not depend on the C library"
    run_tests build/musl -LE '^(slow|programs|http|tls)$'
}

stage_tidy() {
    [ -f build/clang/compile_commands.json ] || configure_clang || return
    find src -name '*.c' -print0 | xargs -0 -r -n 1 -P "$jobs" clang-tidy --quiet -p build/clang
}

python=/usr/bin/python3
[ -x $python ] || python=python3

build_python() { "$python" python/backend.py build --output "build/$stage" --jobs "$jobs" --werror "$@"; }

# The count of run.py, which is at the log's end, and what it says of the tests that were skipped
count_python_tests() {
    local count
    count=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$log")
    read -r passed failed skipped <<<"${count:-0 1 0}"
    sed -n 's/^ *skipped\(.*:\)/   skipped\1/p' "$log" >&3
}

# run.py, behind the command `wrapper`; of all tests, or of those that are named
python_tests() {
    local code
    echo "==== tests ===="
    "${wrapper[@]}" "$python" tests/python/run.py --build "build/$stage" "$@"
    code=$?
    count_python_tests
    return $code
}

stage_python() {
    [ ! -x build/gcc/bin/casyncio ] || export CASYNCIO_PROGRAM=$PWD/build/gcc/bin/casyncio
    local wrapper=()
    build_python && python_tests
}

# The runtime has to be there before the interpreter, whose own allocator would hide the errors. What an interpreter still has
# when it ends is no leak of ours.
stage_python-asan() {
    local wrapper=(fixed_addresses env LD_PRELOAD="$(gcc -print-file-name=libasan.so)" PYTHONMALLOC=malloc
        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1)
    build_python --debug --sanitize address,undefined || return
    if [ -n "$short" ]; then
        left_out "CPython's own tests"
        # shellcheck disable=SC2046
        python_tests $(basename -s .py -a tests/python/test_*.py)
    else
        python_tests
    fi
}

stage_python-tsan() {
    local wrapper=(fixed_addresses env LD_PRELOAD="$(gcc -print-file-name=libtsan.so)")
    build_python --sanitize thread && python_tests threads faults_threads
}

# python_version X.Y: all of it is done in a root of sid that is kept. Without a root there is nothing to be tested.
python_version() {
    local code names=''
    if [ -n "$short" ] && [ "$1" = 3.14 ]; then
        left_out "CPython's own tests with our classes in asyncio's place: 3.15's are run"
        names="$(basename -s .py -a tests/python/test_*.py | tr '\n' ' ')conformance"
    fi
    tools/fresh.sh --suite sid --root build/roots/sid --command "tools/install_packages.sh python-$1 || exit 77
        python$1 python/backend.py build --output build/$stage --jobs $jobs --werror || exit 1
        echo ==== tests ====
        python$1 tests/python/run.py --build build/$stage --jobs $jobs $names"
    code=$?
    if [ $code = 77 ]; then
        skip "$(tail -n 1 "$log")"
        return 0
    fi
    if grep -q '^==== tests ====' "$log"; then count_python_tests; fi
    return $code
}

stage_python-3.14() { python_version 3.14; }
stage_python-3.15() { python_version 3.15; }

# Debian's stable suite first; a library whose sources its mirror lacks is tested as sid has it. Debian has an address of localhost
# for IPv6, which the tests ask for; where this machine does not, the room gets it for this once.
stage_python-programs() {
    local suite whole=$log code=0 counts=(0 0 0) names=''
    for suite in trixie sid; do
        log=build/logs/$stage-$suite.log
        tools/fresh.sh --suite $suite --root build/roots/$suite --command "tools/install_packages.sh python-programs || exit 77
            if ! grep -q '^::1.*localhost' /etc/hosts; then
                { cat /etc/hosts; echo '::1 localhost'; } >/tmp/hosts && mount --bind /tmp/hosts /etc/hosts
            fi
            python3 python/backend.py build --output build/$stage/$suite --jobs $jobs --werror || exit 1
            echo ==== tests ====
            python3 tests/python/foreign/run.py --build build/$stage/$suite --jobs $jobs $names" >"$log" 2>&1
        case $? in
            0) count_python_tests ;;
            77) passed=0 failed=0 skipped=0; skip "$(tail -n 1 "$log")" ;;
            *) code=1; count_python_tests ;;
        esac
        cat "$log"
        sed -n 's/^[a-z]* .* loops made: .*/   &/p' "$log" >&3
        counts=($((counts[0] + passed)) $((counts[1] + failed)) $((counts[2] + skipped)))
        if grep -q '^==== tests ====' "$log"; then
            names=$(sed -n 's/^ *skipped: \([a-z]*\): .* cannot be had$/\1/p' "$log" | tr '\n' ' ')
            [ -n "$names" ] || break
        fi
    done
    log=$whole passed=${counts[0]} failed=${counts[1]} skipped=${counts[2]}
    return $code
}

# The names of the tests that failed, of ctest's lines and of unittest's
failed_tests() {
    sed -nE -e 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) \.*\*\*\*(Failed|Timeout|Exception).*/\1/p' -e 's/^(FAIL|ERROR): //p' \
        -e 's/^([a-z0-9_]+) bad$/\1/p' "$log" | sort -u | head -n 20
}

rows=() faults=() total_passed=0 total_failed=0 total_skipped=0 begin=$SECONDS
for stage in "${stages[@]}"; do
    log=build/logs/$stage.log
    passed=0 failed=0 skipped=0 start=$SECONDS
    echo "== $stage: ${about[$stage]}"
    # 3 is the terminal; all else goes to the log.
    if "stage_$stage" 3>&1 >"$log" 2>&1; then
        [ $((passed + failed + skipped)) -gt 0 ] || passed=1 # a stage without tests is one
    else
        [ $failed -gt 0 ] || failed=1
    fi
    if [ $failed -gt 0 ]; then
        echo "-- what failed ($log):"
        if grep -q '^==== tests ====' "$log"; then
            sed -e '0,/^==== tests ====/d' -e '/% tests passed, /,$d' "$log" | grep -vE '^ +Start +[0-9]+: |   Passed +[0-9.]+ sec *$|^Internal ctest|^Test project' | head -n 300
        elif [ "$stage" = format ]; then
            cat "$log"
        elif grep -qE 'FAILED:|error:|CMake Error|warning:' "$log"; then
            grep -E -A 12 'FAILED:|error:|CMake Error|warning:' "$log" | head -n 120
        else
            tail -n 40 "$log"
        fi
        while read -r name; do faults+=("failed: $stage: $name"); done < <(failed_tests)
    fi
    row=$(printf '%-11s %5d passed %5d failed %5d skipped %6d s' "$stage" $passed $failed $skipped $((SECONDS - start)))
    echo "   ${row#"$stage"}" | tr -s ' '
    rows+=("$row")
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))
done

echo
echo "== all stages, $((SECONDS - begin)) s"
printf '%s\n' "${rows[@]}"
[ ${#faults[@]} = 0 ] || printf '%s\n' "${faults[@]}"
echo
echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
[ $total_failed = 0 ]
