"""The Python examples of the documentation run, and print what the page says."""

import pathlib
import re
import subprocess
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r'^```python\n(.*?)^```\n(?:```output\n(.*?)^```\n)?', re.S | re.M)


class Documentation(unittest.TestCase):

    def test_examples(self):
        count = 0
        for page in [TOP / 'README.md', TOP / 'python' / 'README.md', *sorted((TOP / 'docs').glob('*.md'))]:
            text = page.read_text()
            for match in BLOCK.finditer(text):
                line = text[:match.start()].count('\n') + 1
                with self.subTest(f'{page.name}:{line}'):
                    self.run_example(*match.groups())
                count += 1
        self.assertGreater(count, 2)

    def run_example(self, code, output):
        result = subprocess.run(
            [sys.executable, '-X', 'dev', '-W', 'error::DeprecationWarning', '-c', code],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        self.assertEqual(result.returncode, 0, result.stdout)
        if output is not None:
            self.assertEqual(result.stdout, output)


if __name__ == '__main__':
    unittest.main()
