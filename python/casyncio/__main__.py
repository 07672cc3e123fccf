"""python -m casyncio: runs a program as the interpreter would, with casyncio for asyncio's loop.

    python -m casyncio [--accelerate] FILE [ARGUMENT ...]
    python -m casyncio [--accelerate] -m MODULE [ARGUMENT ...]
    python -m casyncio [--accelerate] -c CODE [ARGUMENT ...]
    python -m casyncio [--accelerate] - [ARGUMENT ...]       reads the program from standard input
    python -m casyncio                                       asyncio's console, where `await` works
    python -m casyncio --version

The program need not know of casyncio: what asyncio.run, asyncio.new_event_loop and the like make is
casyncio's loop. With --accelerate asyncio's queues, locks, time-outs and streams are casyncio's,
too.
"""

import builtins
import importlib.machinery
import io
import os
import pkgutil
import platform
import runpy
import sys
import types

from . import __version__, install


def run_code(code, directory, **names):
    """Runs it in the main module; `names` are those that the interpreter gives to such a one."""
    if sys.version_info >= (3, 15):
        names.pop('__cached__', None)
    if not sys.flags.safe_path:
        sys.path[0] = directory
    module = sys.modules['__main__']
    module.__dict__.update(names)
    exec(code, module.__dict__)


def run_command(text):
    run_code(compile(text, '<string>', 'exec', dont_inherit=True), '',
             __loader__=importlib.machinery.BuiltinImporter)


def run_standard_input(_):
    if sys.stdin.isatty():
        run_console()
        return
    run_code(compile(sys.stdin.read(), '<stdin>', 'exec', dont_inherit=True), '',
             __loader__=importlib.machinery.BuiltinImporter, __file__='<stdin>', __cached__=None)


def run_module(name):
    runpy._run_module_as_main(name)  # as `python -m` itself does


def run_file(path):
    path = os.path.abspath(path)
    if pkgutil.get_importer(path) is not None:  # a directory or a zip file that has a __main__.py
        sys.path[0:not sys.flags.safe_path] = [path]
        runpy._run_module_as_main('__main__', alter_argv=False)
        return
    try:
        with io.open_code(path) as file:
            text = file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}",
              file=sys.stderr)
        sys.exit(2)
    code = pkgutil.read_code(io.BytesIO(text)) or compile(text, path, 'exec', dont_inherit=True)
    run_code(code, os.path.dirname(os.path.realpath(path)), __file__=path, __cached__=None,
             __loader__=importlib.machinery.SourceFileLoader('__main__', path))


def run_console():
    sys.argv = ['']
    runpy._run_module_as_main('asyncio')


def show_program_only(error):
    """Has the traceback of an error that ends the program begin with the program's first frame."""
    show = sys.excepthook
    trace = error.__traceback__
    above = __file__, runpy.__file__, '<frozen runpy>'
    while trace and trace.tb_frame.f_code.co_filename in above:
        trace = trace.tb_next

    def show_from_there(kind, raised, whole):
        if raised is error:
            raised, whole = error.with_traceback(trace), trace
        show(kind, raised, whole)

    sys.excepthook = show_from_there


def usage(message):
    print(f'casyncio: {message}', __doc__, sep='\n\n', end='', file=sys.stderr)
    sys.exit(2)


def main():
    arguments = sys.argv[1:]
    accelerate = arguments[:1] == ['--accelerate']
    if accelerate:
        del arguments[0]
    first = arguments[0] if arguments else None
    if first in ('-h', '--help'):
        print(__doc__, end='')
        return
    if first in ('-V', '--version'):
        print(f'casyncio {__version__} (Python {platform.python_version()})')
        return
    install(accelerate=accelerate)
    sys.modules['__main__'] = module = types.ModuleType('__main__')
    module.__dict__.update(__builtins__=builtins)
    if sys.version_info < (3, 14):
        module.__dict__.update(__annotations__={})
    if first is None:
        run, what = lambda _: run_console(), None
    elif first in ('-c', '-m'):
        if len(arguments) < 2:
            usage(f'argument expected for {first}')
        run, what = (run_command, run_module)[first == '-m'], arguments.pop(1)
    elif first == '-':
        run, what = run_standard_input, None
    elif first.startswith('-'):
        usage(f'unknown option {first}')
    else:
        run, what = run_file, first
    sys.argv = arguments
    try:
        run(what)
    except BaseException as error:
        show_program_only(error)
        raise


if __name__ == '__main__':
    main()
