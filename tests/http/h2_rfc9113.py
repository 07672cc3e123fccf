"""What RFC 9113 demands of a server, by section, against one that listens: h2_rfc9113.py PORT

Each row sends frames, which python3-h2's own libraries put together, and says what must come: an error of
the connection (GOAWAY, and its end), an error of the stream (RST_STREAM, or GOAWAY, which is always
allowed: 5.4), an answer, or a frame. The server answers GET /hello/x, POST /echo, and GET /slow after 0.3 s.
"""
import concurrent.futures
import socket
import struct
import sys

import h2.config
import h2.connection
import h2.events
import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
NAMES = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
NO, PROTOCOL, INTERNAL, FLOW, SETTINGS_TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
port = int(sys.argv[1])


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(*more, method="GET", path="/hello/x", drop=(), first=()):
    pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")]
    headers = list(first) + [pair for pair in pseudo if pair[0] not in drop] + list(more)
    out = b""
    for name, value in headers:  # as literals: names may be wrong
        name, value = name.encode("latin-1"), value.encode("latin-1")
        out += b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return out


def get(stream=1, *more, flags=END_STREAM | END_HEADERS, **options):
    return frame(HEADERS, flags, stream, block(*more, **options))


def post(stream=1, *more, **options):
    return get(stream, *more, flags=END_HEADERS, method="POST", path="/echo", **options)


def setting(name, value):
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def number(kind, stream, value):
    return frame(kind, 0, stream, struct.pack(">I", value))


class Peer:
    def __init__(self, preface=PREFACE, settings=frame(SETTINGS, 0, 0)):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(20)
        self.decoder = hpack.Decoder()
        self.send(preface + settings)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def frames(self):
        try:
            while head := self.exactly(9):
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                payload = self.exactly(size)
                if payload is None:
                    break
                stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
                headers = self.decoder.decode(payload) if kind == HEADERS else None
                yield kind, flags, stream, payload, headers
        except OSError:
            return


# What is to come. Each gives None, or what came instead.
def connection_error(*codes):
    def check(peer):
        for kind, _, _, payload, _ in peer.frames():
            if kind == GOAWAY:
                code = struct.unpack(">I", payload[4:8])[0]
                if codes and code not in codes:
                    return f"GOAWAY {code}"
                for _ in peer.frames():  # and the end
                    pass
                return None
        return "the end without GOAWAY"

    return check


def stream_error(*codes, stream=1):
    def check(peer):
        for kind, _, at, payload, headers in peer.frames():
            if kind == RST and at == stream or kind == GOAWAY:
                code = struct.unpack(">I", payload[:4] if kind == RST else payload[4:8])[0]
                return None if code in codes or not codes else f"error {code}"
            if kind == HEADERS and at == stream:
                status = dict(headers)[":status"]
                if not status.startswith("4"):  # 8.1.1: a server may answer before it resets
                    return f"answered: {status}"
                return None
        return "the end"

    return check


def answer(status="200", stream=1):
    def check(peer):
        for kind, flags, at, payload, headers in peer.frames():
            if kind == HEADERS and at == stream:
                headers = dict(headers)
                if headers[":status"].startswith("1"):
                    continue
                return None if headers[":status"] == status else f"status {headers[':status']}"
            if kind == GOAWAY or (kind == RST and at == stream):
                return f"{NAMES[kind]} {payload.hex()}"
        return "the end"

    return check


def ends(peer):
    data = b""
    while more := peer.socket.recv(65536):
        data += more
    return None if not data.startswith(b"HTTP/1.1 2") else "it is served"


def comes(kind, test=lambda flags, payload: True):
    def check(peer):
        for got, flags, _, payload, _ in peer.frames():
            if got == kind and test(flags, payload):
                return None
        return f"no {NAMES[kind]}"

    return check


small_windows = setting(4, 5)
rows = [
    ("3.4", "the preface is wrong", dict(preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"), b"", ends),
    ("3.4", "the server's first frame is SETTINGS", {}, b"", comes(SETTINGS, lambda f, p: not f)),
    ("3.4", "no SETTINGS behind the preface", dict(settings=b""), get(), connection_error(PROTOCOL)),
    ("4.1", "unknown frame types are ignored", {}, frame(0xFA, 0, 0, b"x") + frame(0xFA, 255, 1, b"") + get(), answer()),
    ("4.1", "unknown flags are ignored", {}, frame(PING, 0xFE, 0, b"12345678") + get(), answer()),
    ("4.1", "the reserved bit of a stream's number is ignored", {}, get(0x80000001), answer()),
    ("4.2", "a frame larger than SETTINGS_MAX_FRAME_SIZE", {}, post() + frame(DATA, 0, 1, bytes(16385)), connection_error(SIZE)),
    ("4.2", "a HEADERS frame larger than that", {}, frame(HEADERS, 5, 1, bytes(16385)), connection_error(SIZE)),
    ("4.3", "a block that cannot be decoded", {}, frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), connection_error(COMPRESSION)),
    ("4.3", "a frame between HEADERS and CONTINUATION", {}, frame(HEADERS, 1, 1, block()) + frame(PING, 0, 0, bytes(8)), connection_error(PROTOCOL)),
    ("4.3", "a CONTINUATION of another stream", {}, frame(HEADERS, 1, 1, block()) + frame(CONTINUATION, 4, 3), connection_error(PROTOCOL)),
    ("4.3", "HEADERS and CONTINUATION", {}, frame(HEADERS, 1, 1, block()[:5]) + frame(CONTINUATION, 0, 1, block()[5:9]) + frame(CONTINUATION, 4, 1, block()[9:]), answer()),
    ("5.1", "idle: DATA", {}, frame(DATA, 1, 1, b"x"), connection_error(PROTOCOL, CLOSED)),
    ("5.1", "idle: RST_STREAM", {}, number(RST, 1, CANCEL), connection_error(PROTOCOL)),
    ("5.1", "idle: WINDOW_UPDATE", {}, number(WINDOW, 1, 100), connection_error(PROTOCOL)),
    ("5.1", "idle: PRIORITY is no error", {}, frame(PRIORITY, 0, 5, b"\0\0\0\0\1") + get(), answer()),
    ("5.1", "idle: CONTINUATION", {}, frame(CONTINUATION, 4, 1), connection_error(PROTOCOL)),
    ("5.1", "half-closed (remote): DATA", {}, get(path="/slow") + frame(DATA, 1, 1, b"x"), stream_error(CLOSED)),
    ("5.1", "half-closed (remote): HEADERS", {}, get(path="/slow") + get(), stream_error(CLOSED)),
    ("5.1", "half-closed (remote): PRIORITY, WINDOW_UPDATE are fine", {}, get(path="/slow") + frame(PRIORITY, 0, 1, b"\0\0\0\0\1") + number(WINDOW, 1, 9), answer()),
    ("5.1", "closed by RST_STREAM: DATA", {}, post() + number(RST, 1, CANCEL) + frame(DATA, 1, 1, b"x") + get(3), answer(stream=3)),
    ("5.1", "closed by RST_STREAM: HEADERS are ignored", {}, post() + number(RST, 1, CANCEL) + get() + get(3), answer(stream=3)),
    ("5.1.1", "a stream with an even number", {}, get(2), connection_error(PROTOCOL)),
    ("5.1.1", "a stream with a lower number than another", {}, get(5) + get(3), connection_error(PROTOCOL, CLOSED)),
    ("5.1.1", "HEADERS on stream 0", {}, get(0), connection_error(PROTOCOL)),
    ("5.1.2", "more streams than SETTINGS_MAX_CONCURRENT_STREAMS", {}, b"".join(get(1 + 2 * i, path="/slow") for i in range(101)), stream_error(PROTOCOL, REFUSED, stream=201)),
    ("5.3.2", "priorities are ignored", {}, frame(PRIORITY, 0, 3, b"\0\0\0\1\1") + get(1), answer()),
    ("5.4.1", "an error of the connection ends it, with GOAWAY", {}, frame(DATA, 0, 0, b"x"), connection_error(PROTOCOL)),
    ("5.5", "an unknown frame inside of a header block", {}, frame(HEADERS, 1, 1, block()) + frame(0xFA, 0, 1), connection_error(PROTOCOL)),
    ("6.1", "DATA on stream 0", {}, frame(DATA, 0, 0, b"x"), connection_error(PROTOCOL)),
    ("6.1", "padding as long as the frame", {}, post() + frame(DATA, PADDED, 1, b"\x05abcd"), connection_error(PROTOCOL)),
    ("6.1", "padded DATA", {}, post() + frame(DATA, PADDED | 1, 1, b"\x02a\0\0"), answer()),
    ("6.2", "padding of HEADERS as long as the frame", {}, frame(HEADERS, 5 | PADDED, 1, b"\xff" + block()), connection_error(PROTOCOL)),
    ("6.2", "HEADERS with padding and priority", {}, frame(HEADERS, 5 | PADDED | PRIORITIZED, 1, b"\x01\0\0\0\0\5" + block() + b"\0"), answer()),
    ("6.3", "PRIORITY on stream 0", {}, frame(PRIORITY, 0, 0, b"\0\0\0\0\1"), connection_error(PROTOCOL)),
    ("6.3", "PRIORITY of another length than 5", {}, get(path="/slow") + frame(PRIORITY, 0, 1, b"\0\0\0\1"), stream_error(SIZE)),
    ("6.4", "RST_STREAM on stream 0", {}, number(RST, 0, CANCEL), connection_error(PROTOCOL)),
    ("6.4", "RST_STREAM of another length than 4", {}, post() + frame(RST, 0, 1, b"\0\0\0"), connection_error(SIZE)),
    ("6.5", "SETTINGS are acknowledged", {}, setting(3, 10), comes(SETTINGS, lambda f, p: f & ACK)),
    ("6.5", "an acknowledgement with a payload", {}, frame(SETTINGS, ACK, 0, bytes(6)), connection_error(SIZE)),
    ("6.5", "SETTINGS on a stream", {}, frame(SETTINGS, 0, 1), connection_error(PROTOCOL)),
    ("6.5", "SETTINGS of a length that is no multiple of 6", {}, frame(SETTINGS, 0, 0, bytes(5)), connection_error(SIZE)),
    ("6.5.2", "SETTINGS_ENABLE_PUSH of 2", {}, setting(2, 2), connection_error(PROTOCOL)),
    ("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1", {}, setting(4, 0x80000000), connection_error(FLOW)),
    ("6.5.2", "SETTINGS_MAX_FRAME_SIZE below 2^14", {}, setting(5, 16383), connection_error(PROTOCOL)),
    ("6.5.2", "SETTINGS_MAX_FRAME_SIZE above 2^24-1", {}, setting(5, 1 << 24), connection_error(PROTOCOL)),
    ("6.5.2", "an unknown setting is ignored", {}, setting(0xFF, 1) + get(), answer()),
    ("6.6", "a client's PUSH_PROMISE", {}, post() + frame(PUSH, 4, 1, struct.pack(">I", 2) + block()), connection_error(PROTOCOL)),
    ("6.7", "PING is answered with the same data", {}, frame(PING, 0, 0, b"12345678"), comes(PING, lambda f, p: f & ACK and p == b"12345678")),
    ("6.7", "PING with ACK is not answered", {}, frame(PING, ACK, 0, b"abcdefgh") + frame(PING, 0, 0, b"12345678"), comes(PING, lambda f, p: p == b"12345678")),
    ("6.7", "PING on a stream", {}, frame(PING, 0, 1, bytes(8)), connection_error(PROTOCOL)),
    ("6.7", "PING of another length than 8", {}, frame(PING, 0, 0, bytes(6)), connection_error(SIZE)),
    ("6.8", "GOAWAY on a stream", {}, frame(GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL)),
    ("6.8", "what was open before GOAWAY is answered", {}, get(path="/slow") + frame(GOAWAY, 0, 0, bytes(8)), answer()),
    ("6.9", "WINDOW_UPDATE of 0 on a stream", {}, post() + number(WINDOW, 1, 0), stream_error(PROTOCOL)),
    ("6.9", "WINDOW_UPDATE of 0 on the connection", {}, number(WINDOW, 0, 0), connection_error(PROTOCOL)),
    ("6.9", "WINDOW_UPDATE of another length than 4", {}, frame(WINDOW, 0, 0, b"\0\0\1"), connection_error(SIZE)),
    ("6.9.1", "a window of the connection above 2^31-1", {}, number(WINDOW, 0, 0x7FFFFFFF), connection_error(FLOW)),
    ("6.9.1", "a window of a stream above 2^31-1", {}, post() + number(WINDOW, 1, 0x7FFFFFFF), stream_error(FLOW)),
    ("6.9.1", "no more DATA than the window", {}, small_windows + get(), comes(DATA, lambda f, p: len(p) == 5)),
    ("6.9.2", "SETTINGS open the windows of streams that wait", {}, setting(4, 0) + get() + setting(4, 100), comes(DATA, lambda f, p: len(p) > 5 or f & 1)),
    ("6.9.2", "SETTINGS that make a window too large", {}, get(path="/slow") + number(WINDOW, 1, 0x7FFFFFFF - 65535) + setting(4, 0x7FFFFFFF), connection_error(FLOW)),
    ("6.10", "CONTINUATION behind a block that is whole", {}, post() + frame(CONTINUATION, 4, 1, b""), connection_error(PROTOCOL)),
    ("6.10", "CONTINUATION on stream 0", {}, frame(HEADERS, 1, 1, block()) + frame(CONTINUATION, 4, 0), connection_error(PROTOCOL)),
    ("8.1", "a second HEADERS without END_STREAM", {}, post() + get(1, flags=END_HEADERS, drop=(":method", ":scheme", ":path", ":authority"), first=[("x", "y")]), stream_error(PROTOCOL)),
    ("8.1", "trailers", {}, post() + frame(DATA, 0, 1, b"x") + frame(HEADERS, 5, 1, b"\x00\x01x\x01y"), answer()),
    ("8.1", "a pseudo-header in trailers", {}, post() + frame(HEADERS, 5, 1, b"\x00\x07:method\x03GET"), stream_error(PROTOCOL)),
    ("8.1.1", "a body shorter than Content-Length", {}, post(1, ("content-length", "5")) + frame(DATA, 1, 1, b"x"), stream_error(PROTOCOL)),
    ("8.1.1", "a body longer than Content-Length", {}, post(1, ("content-length", "1")) + frame(DATA, 1, 1, b"xyz"), stream_error(PROTOCOL)),
    ("8.1.1", "a body that Content-Length has none of", {}, get(1, ("content-length", "5")), stream_error(PROTOCOL)),
    ("8.1.1", "a Content-Length that is no number", {}, post(1, ("content-length", "+5")), stream_error(PROTOCOL)),
    ("8.1.1", "two Content-Lengths", {}, post(1, ("content-length", "1"), ("content-length", "1")), stream_error(PROTOCOL)),
    ("8.2", "an upper-case name", {}, get(1, ("X-A", "b")), stream_error(PROTOCOL)),
    ("8.2.1", "a blank in a name", {}, get(1, ("x a", "b")), stream_error(PROTOCOL)),
    ("8.2.1", "a colon in a name", {}, get(1, ("x:a", "b")), stream_error(PROTOCOL)),
    ("8.2.1", "a LF in a value", {}, get(1, ("x", "a\nb")), stream_error(PROTOCOL)),
    ("8.2.1", "a CR in a value", {}, get(1, ("x", "a\rb")), stream_error(PROTOCOL)),
    ("8.2.1", "a NUL in a value", {}, get(1, ("x", "a\0b")), stream_error(PROTOCOL)),
    ("8.2.2", "Connection", {}, get(1, ("connection", "close")), stream_error(PROTOCOL)),
    ("8.2.2", "Transfer-Encoding", {}, post(1, ("transfer-encoding", "chunked")), stream_error(PROTOCOL)),
    ("8.2.2", "Upgrade", {}, get(1, ("upgrade", "x")), stream_error(PROTOCOL)),
    ("8.2.2", "Keep-Alive, Proxy-Connection", {}, get(1, ("keep-alive", "1")), stream_error(PROTOCOL)),
    ("8.2.2", "TE of another value than trailers", {}, get(1, ("te", "gzip")), stream_error(PROTOCOL)),
    ("8.2.2", "TE: trailers", {}, get(1, ("te", "trailers")), answer()),
    ("8.3", "an unknown pseudo-header", {}, get(1, first=[(":x", "y")]), stream_error(PROTOCOL)),
    ("8.3", "a pseudo-header of answers", {}, get(1, first=[(":status", "200")]), stream_error(PROTOCOL)),
    ("8.3", "a pseudo-header behind others", {}, get(1, ("x", "y"), (":path", "/"), drop=(":path",)), stream_error(PROTOCOL)),
    ("8.3.1", "no :method", {}, get(drop=(":method",)), stream_error(PROTOCOL)),
    ("8.3.1", "no :scheme", {}, get(drop=(":scheme",)), stream_error(PROTOCOL)),
    ("8.3.1", "no :path", {}, get(drop=(":path",)), stream_error(PROTOCOL)),
    ("8.3.1", "an empty :path", {}, get(path=""), stream_error(PROTOCOL)),
    ("8.3.1", "two :paths", {}, get(first=[(":path", "/")]), stream_error(PROTOCOL)),
    ("8.3.1", "two :methods", {}, get(first=[(":method", "GET")]), stream_error(PROTOCOL)),
    ("8.3.1", "Host in place of :authority", {}, get(1, ("host", "a"), drop=(":authority",)), answer()),
    ("8.3.1", "Host that is another than :authority", {}, get(1, ("host", "b")), stream_error(PROTOCOL)),
    ("8.3.1", "neither Host nor :authority", {}, get(drop=(":authority",)), stream_error(PROTOCOL)),
    ("8.5", "CONNECT is not served", {}, get(method="CONNECT", drop=(":scheme", ":path")), stream_error()),
]


def whole_exchange():
    """python3-h2's own state machine, which is strict, sees an upload and its answer."""
    peer = socket.create_connection(("127.0.0.1", port))
    peer.settimeout(20)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    body, sent, got = bytes(range(256)) * 800, 0, b""
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "a")])
    while True:
        while sent < len(body):
            size = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size, len(body) - sent)
            if size <= 0:
                break
            connection.send_data(stream, body[sent : sent + size], end_stream=sent + size == len(body))
            sent += size
        peer.sendall(connection.data_to_send())
        data = peer.recv(65536)
        if not data:
            return "the end"
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                got += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, stream)
            if isinstance(event, h2.events.StreamEnded):
                return None if got == body else f"{len(got)} bytes"
            if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                return str(event)


def run(row):
    section, name, options, data, check = row
    peer = Peer(**options)
    peer.send(data)
    wrong = check(peer)
    peer.socket.close()
    return f"RFC 9113, {section}: {name}: {wrong}" if wrong else None


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    failures = [text for text in pool.map(run, rows) if text]
wrong = whole_exchange()
if wrong:
    failures.append(f"python3-h2: {wrong}")
print(*failures, f"{len(rows)} rows, {len(failures)} wrong", sep="\n")
sys.exit(len(failures) > 0)
