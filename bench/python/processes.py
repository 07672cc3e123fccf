"""The processes of a benchmark: the one under test (worker.py) and its client (load.c)."""
import os
import select
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 300      # s, for one answer


class Trouble(Exception):
    """A process has died, or says nothing: what it said last."""


def ask(python, code, directory=''):
    """What a Python program prints; RuntimeError with the last line of its complaint."""
    environment = dict(os.environ, PYTHONPATH=directory) if directory else None
    result = subprocess.run([python, '-c', code], env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().rpartition('\n')[2] or f'{python} has failed')
    return result.stdout.strip()


class Tools:
    """What is made once, in a directory of its own: the client, and a certificate for TLS."""

    def __init__(self, directory):
        self.directory = directory
        self.load = os.path.join(directory, 'load')
        self.certificate = os.path.join(directory, 'certificate.pem')
        self.key = os.path.join(directory, 'key.pem')
        processors = sorted(os.sched_getaffinity(0))
        # The first one is where a machine's own work is likely to be.
        self.client_core, self.core = processors[0], processors[-1]
        if self.client_core == self.core:
            print('one processor only: servers and clients share it')
        self.tls = self.compile('-DWITH_TLS', '-lssl', '-lcrypto') and self.make_certificate()
        if not self.tls and not self.compile():
            raise SystemExit('bench.py: load.c cannot be compiled: is there a C compiler?')

    def compile(self, flag='-DWITHOUT_TLS', *libraries):
        sources = [os.path.join(HERE, 'load.c'), os.path.join(HERE, '..', 'support', 'child.c')]
        command = [os.environ.get('CC', 'cc'), '-std=gnu11', '-D_GNU_SOURCE', '-O2', flag, *sources,
                   '-o', self.load, *libraries]
        return self.succeeds(command)

    def make_certificate(self):
        return self.succeeds(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                              'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=localhost',
                              '-days', '2', '-keyout', self.key, '-out', self.certificate])

    @staticmethod
    def succeeds(command):
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except FileNotFoundError:
            return False


class Peer:
    """A process that is spoken to by lines."""

    def __init__(self, command, core=None):
        self.errors = tempfile.TemporaryFile('w+')
        if core is not None:
            pin = lambda: os.sched_setaffinity(0, {core})
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, bufsize=1,
                                        preexec_fn=pin if core is not None else None)
        self.pid = self.process.pid

    def say(self, text):
        try:
            self.process.stdin.write(f'{text}\n')
        except BrokenPipeError:
            pass                        # hear() says why

    def hear(self):
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if readable else ''
        if not line:
            raise Trouble(self.complaint() if readable else 'no answer')
        return line.strip()

    def complaint(self):
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            status = None
        self.errors.seek(0)
        said = self.errors.read().strip().rpartition('\n')[2]
        return said or f'ended with status {status}'

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


class Subject:
    """One loop doing one row. A context manager, so that no process outlives the benchmark."""

    def __init__(self, name, directory, row, tools, options, prefix=()):
        self.name, self.row = name, row
        self.server = self.client = None
        program = [options.python, os.path.join(HERE, 'worker.py')]
        command = [*prefix, *program, name, row.name, '--core', str(tools.core),
                   '--certificate', tools.certificate, '--key', tools.key]
        if directory:
            command += ['--directory', directory]
        if row.peer:
            self.server = Peer([*program, 'stock', row.name, '--peer', '--core',
                                str(tools.client_core)])
            command += ['--address', self.server.hear()[len('ready '):]]
        self.worker = Peer(command)
        self.pid = self.worker.pid
        try:
            address = self.worker.hear()[len('ready '):]
            if row.kind:
                self.client = Peer([tools.load, row.kind, address, str(options.connections),
                                    str(row.size), str(self.pid)], core=tools.client_core)
                self.client.hear()
        except Trouble as trouble:
            raise self.ended(trouble)
        except BaseException:
            self.end()
            raise

    def measure(self, count):
        """CPU time in ns of one operation of `count`."""
        speaker = self.client or self.worker
        try:
            speaker.say(count)
            return float(speaker.hear())
        except Trouble as trouble:
            raise self.ended(trouble)

    def ended(self, trouble):
        """If the client complains, the server may know more."""
        if self.client and self.worker.process.poll() is not None:
            trouble = Trouble(self.worker.complaint())
        self.end()
        return trouble

    def end(self):
        for peer in (self.client, self.worker, self.server):
            if peer and not peer.errors.closed:
                peer.end()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.end()
