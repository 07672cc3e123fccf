"""Where the time of a row goes: by samples (perf), or by instructions counted (valgrind)."""
import os
import re
import subprocess

import processes

TOP = 30            # functions shown
SHARE = 4           # of a row's operations under valgrind, which is some 50 times slower


def show(rows, loops, tools, options):
    names = options.loops if len(options.loops) < 3 else ['casyncio']
    for row in rows:
        for name in names:
            name = name.partition('=')[0]
            if name not in loops:
                print(f'{name} cannot be had here')
                continue
            try:
                if options.instructions:
                    instructions(row, name, loops[name], tools, options)
                else:
                    samples(row, name, loops[name], tools, options)
            except processes.Trouble as trouble:
                print(f'{row.name}, {name}: {trouble}')


def samples(row, name, directory, tools, options):
    """A virtual machine may have no counters of events: perf samples by the clock."""
    data = os.path.join(tools.directory, 'perf.data')
    with processes.Subject(name, directory, row, tools, options) as subject:
        subject.measure(row.count)
        command = ['perf', 'record', '-q', '-e', 'cpu-clock', '-F', '5000', '-o', data]
        perf = subprocess.Popen([*command, '-p', str(subject.pid)], stderr=subprocess.DEVNULL)
        times = [subject.measure(row.count) for _ in range(max(8, 3 * options.rounds))]
        perf.terminate()
        perf.wait()
    time = sorted(times)[len(times) // 2] / 1000
    print(f'\n{row.title}, {name}: {time:.3f} us')
    for sort, limit in (('dso', 8), ('dso,symbol', TOP)):
        report(data, sort, limit, time)


def report(data, sort, limit, time):
    text = subprocess.run(['perf', 'report', '-i', data, '--stdio', '--sort', sort],
                          capture_output=True, text=True).stdout
    found = re.findall(r'^ *([\d.]+)% +(.*?)[ -]*$', text, re.MULTILINE)
    for share, place in found[:limit]:
        print(f'{float(share) / 100 * time:9.3f}  {place}')
    print()


def instructions(row, name, directory, tools, options):
    """User space only; what the kernel does is not seen by valgrind."""
    data = os.path.join(tools.directory, 'callgrind.out')
    prefix = ['valgrind', '--tool=callgrind', '--instr-atstart=no', '--callgrind-out-file=' + data]
    count = max(row.count // SHARE, 1)
    with processes.Subject(name, directory, row, tools, options, prefix) as subject:
        subject.measure(max(count // SHARE, 1))
        control(subject.pid, '-i', 'on')
        subject.measure(count)
        control(subject.pid, '-i', 'off')
        control(subject.pid, '-d', row.name)
    print(f'\n{row.title}, {name}')
    for title, option in (('in the function itself', '--inclusive=no'),
                          ('with what it calls', '--inclusive=yes')):
        text = subprocess.run(['callgrind_annotate', '--threshold=100', option, data + '.1'],
                              capture_output=True, text=True).stdout
        total = re.search(r'^([\d,]+) .*PROGRAM TOTALS', text, re.MULTILINE)
        if not total:
            raise processes.Trouble('callgrind has counted nothing')
        print(f'{number(total[1]) / count:9.0f}  instructions; {title}:')
        found = re.findall(r'^ *([\d,]+) (?:\([\d. ]+%\))? *(\S*:.*)$', text, re.MULTILINE)
        for amount, place in found[:TOP]:
            print(f'{number(amount) / count:9.0f}  {re.sub(r"^[^ ]*/", "", place)}')


def control(pid, *command):
    subprocess.run(['callgrind_control', *command, str(pid)], capture_output=True, check=True)


def number(text):
    return int(text.replace(',', ''))
