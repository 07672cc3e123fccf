"""Methods of C that take one argument: by position or by name, and what they say of any other."""

import asyncio
import inspect

import casyncio
import support

# The method, its parameter, whether it must be given, and a value.
METHODS = [
    (lambda: casyncio.Queue().put, "item", True, 1),
    (lambda: casyncio.Queue().put_nowait, "item", True, 1),
    (lambda: casyncio.Condition().wait_for, "predicate", True, bool),
    (lambda: casyncio.timeout, "delay", True, 1),
    (lambda: casyncio.timeout_at, "when", True, 1),
    (lambda: casyncio.StreamReader(loop=asyncio.get_running_loop()).readexactly, "n", True, 0),
    (lambda: casyncio.StreamReader(loop=asyncio.get_running_loop()).read, "n", False, 0),
    (lambda: casyncio.StreamReader(loop=asyncio.get_running_loop()).readuntil, "separator", False,
     b"x"),
]


class OneArgument(support.LoopCase):
    def take(self, made):
        """A coroutine that is not awaited would be told of."""
        if inspect.isawaitable(made):
            made.close()

    @support.asynchronous
    async def test_given(self):
        for find, name, _, value in METHODS:
            with self.subTest(name):
                self.take(find()(value))
                self.take(find()(**{name: value}))

    @support.asynchronous
    async def test_missing(self):
        for find, name, required, _ in METHODS:
            method = find()
            with self.subTest(method.__name__):
                if required:
                    missing = rf"{method.__name__}\(\) missing 1 required argument: '{name}'"
                    self.assertRaisesRegex(TypeError, missing, method)
                else:
                    self.take(method())

    @support.asynchronous
    async def test_too_many(self):
        for find, name, _, value in METHODS:
            method = find()
            with self.subTest(method.__name__):
                many = rf"{method.__name__}\(\) takes at most 1 argument \(2 given\)"
                self.assertRaisesRegex(TypeError, many, method, value, value)
                self.assertRaisesRegex(TypeError, many, method, value, **{name: value})

    @support.asynchronous
    async def test_another_name(self):
        for find, _, _, value in METHODS:
            method = find()
            with self.subTest(method.__name__):
                other = rf"{method.__name__}\(\) got an unexpected keyword argument 'other'"
                self.assertRaisesRegex(TypeError, other, method, other=value)


if __name__ == "__main__":
    support.main()
