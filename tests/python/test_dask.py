# run: timeout=120
"""dask.distributed on casyncio's loop, unmodified: its executor, and its own coroutines. A skip where it is missing
(Debian: python3-distributed)."""
import asyncio
import unittest
import warnings

import casyncio

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from distributed import Client, LocalCluster
except ImportError as error:
    raise unittest.SkipTest(f"no dask.distributed (Debian: python3-distributed): {error}")


def square(number):
    return number * number


class Dask(unittest.TestCase):
    def test_executor(self):
        """loop.run_in_executor with the executor of a client that runs in a thread of its own."""
        with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
            with Client(cluster) as client:

                async def main():
                    loop = asyncio.get_running_loop()
                    self.assertIsInstance(loop, casyncio.Loop)
                    executor = client.get_executor()
                    return await asyncio.gather(*[loop.run_in_executor(executor, square, n) for n in range(50)])

                self.assertEqual(casyncio.run(main()), [n * n for n in range(50)])


if __name__ == "__main__":
    unittest.main()
