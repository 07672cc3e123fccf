"""add_signal_handler and remove_signal_handler, and Ctrl-C."""

import asyncio
import os
import signal
import threading

import support


class Signals(support.LoopCase):
    def test_handler(self):
        calls = []
        self.loop.add_signal_handler(signal.SIGUSR1, lambda *given: calls.append(given), 1, 2)
        self.loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        self.until(lambda: calls)
        self.assertEqual(calls, [(1, 2)])

    def test_runs_in_the_loop_and_not_in_a_signal(self):
        """The handler may do what a callback may."""
        calls = []

        async def follow_up():
            calls.append("task")

        def handler():
            self.assertIs(asyncio.get_running_loop(), self.loop)
            self.loop.create_task(follow_up())

        self.loop.add_signal_handler(signal.SIGUSR1, handler)
        self.loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        self.until(lambda: calls)

    def test_replaced_and_removed(self):
        calls = []
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, 2)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.until(lambda: calls)
        self.assertEqual(calls, [2])
        self.assertIs(self.loop.remove_signal_handler(signal.SIGUSR1), True)
        self.assertIs(self.loop.remove_signal_handler(signal.SIGUSR1), False)
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)

    def test_sigint_goes_back_to_pythons_handler(self):
        self.loop.add_signal_handler(signal.SIGINT, int)
        self.loop.remove_signal_handler(signal.SIGINT)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_close_removes(self):
        self.loop.add_signal_handler(signal.SIGUSR1, int)
        self.loop.close()
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    def test_a_handler_that_fails(self):
        def fails():
            raise ZeroDivisionError

        self.loop.add_signal_handler(signal.SIGUSR1, fails)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.turns(5)
        self.assertIsInstance(self.take_errors()[0]["exception"], ZeroDivisionError)

    def test_pythons_own_handlers_still_run(self):
        calls = []
        old = signal.signal(signal.SIGUSR2, lambda *_: calls.append("python's"))
        self.addCleanup(signal.signal, signal.SIGUSR2, old)
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, "ours")
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.until(lambda: len(calls) == 2)
        self.assertEqual(sorted(calls), ["ours", "python's"])

    def test_pythons_handler_runs_although_the_loop_sleeps(self):
        seen = self.loop.create_future()
        old = signal.signal(
            signal.SIGALRM, lambda *_: self.loop.call_soon_threadsafe(seen.set_result, None))
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        self.run_async(seen)

    def test_an_exception_from_pythons_handler_comes_out(self):
        class Interrupted(Exception):
            pass

        def handler(*_):
            raise Interrupted

        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        self.loop.call_later(10, self.loop.stop)
        with self.assertRaises(Interrupted):
            self.loop.run_forever()
        self.turns()

    def test_arguments(self):
        for bad, error in (
            ("SIGTERM", TypeError),
            (None, TypeError),
            (0, ValueError),
            (-1, ValueError),
            (1000, ValueError),
            (signal.SIGKILL, RuntimeError),
            (signal.SIGSTOP, RuntimeError),
        ):
            with self.assertRaises(error):
                self.loop.add_signal_handler(bad, int)
        for bad, error in ((None, TypeError), (1000, ValueError)):
            with self.assertRaises(error):
                self.loop.remove_signal_handler(bad)

    def test_only_in_the_main_thread(self):
        errors = []

        def run():
            loop = support.new_event_loop()
            try:
                loop.add_signal_handler(signal.SIGUSR1, int)
            except RuntimeError as error:
                errors.append(error)
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(len(errors), 1)

    def test_a_storm(self):
        """Many of one kind may become one, but the last one is never lost."""
        calls = []
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, 1)

        async def main():
            for _ in range(300):
                before = len(calls)
                os.kill(os.getpid(), signal.SIGUSR1)
                await support.until(lambda: len(calls) > before)

        self.run_async(main())

    def test_two_loops_after_each_other(self):
        calls = []
        for number in range(3):
            loop = support.new_event_loop()
            loop.add_signal_handler(signal.SIGUSR1, calls.append, number)
            os.kill(os.getpid(), signal.SIGUSR1)
            loop.run_until_complete(asyncio.sleep(0.005))
            loop.close()
        self.assertEqual(calls, [0, 1, 2])


class Interrupts(support.LoopCase):
    def test_runner_cancels_the_main_task(self):
        steps = []

        async def main():
            asyncio.get_running_loop().call_later(
                0.02, os.kill, os.getpid(), signal.SIGINT
            )
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                steps.append("cancelled")
                raise

        with self.assertRaises(KeyboardInterrupt):
            with asyncio.Runner(loop_factory=support.new_event_loop) as runner:
                runner.run(main())
        self.assertEqual(steps, ["cancelled"])

    def test_run_forever(self):
        self.loop.call_later(20, self.loop.stop)
        threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGINT)).start()
        with self.assertRaises(KeyboardInterrupt):
            self.loop.run_forever()
        self.turns()

    def test_busy_loop(self):
        """A loop that never sleeps is interrupted as well."""

        async def spin():
            while True:
                await asyncio.sleep(0)

        task = self.loop.create_task(spin())
        threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGINT)).start()
        with self.assertRaises(KeyboardInterrupt):
            self.loop.run_until_complete(task)
        if not task.done():
            task.cancel()
            self.turns()

    def test_callbacks_without_a_task(self):
        def again():
            self.loop.call_soon(again)

        self.loop.call_soon(again)
        threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGINT)).start()
        with self.assertRaises(KeyboardInterrupt):
            self.loop.run_forever()
        self.loop.close()


if __name__ == "__main__":
    support.main()
