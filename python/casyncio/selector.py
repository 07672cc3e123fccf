"""loop._selector: for what looks there to see who is watched. Nothing is selected by it."""

import selectors


class Selector:
    """The descriptors that add_reader() and add_writer() watch, as a selector has them."""

    def __init__(self, loop):
        self._watched = loop._watched

    def get_key(self, fileobj):
        """The SelectorKey of a descriptor; KeyError if it is not watched."""
        try:
            fd, reader, writer = self._watched(fileobj)
        except ValueError:
            raise KeyError(f'{fileobj!r} is not registered') from None
        events = ((selectors.EVENT_READ if reader is not None else 0)
                  | (selectors.EVENT_WRITE if writer is not None else 0))
        if not events:
            raise KeyError(f'{fileobj!r} is not registered')
        return selectors.SelectorKey(fileobj, fd, events, (reader, writer))

    def get_map(self):
        return self

    def get(self, fileobj, default=None):
        try:
            return self.get_key(fileobj)
        except KeyError:
            return default
