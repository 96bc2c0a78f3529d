"""A scripted HTTP/2 server (prior knowledge, no TLS): rangeserver's answers, broken as only HTTP/2 can.

    with H2Server(Answer(cut=BEFORE, how="REFUSED_STREAM"), Answer()) as server:
        curl("--http2-prior-knowledge", server.url)

how: an error code's name ends the stream by RST_STREAM; `goaway` and `goaway-close` say that this stream
was not looked at, and leave the connection open or close it; `reset`, `close` and `stall` are the connection's.
"""

import time

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame

from rangeserver import BEFORE, MID_HEADERS, Request, ScriptedServer, compose, cut_of, reset

OVER = "the connection is over"


class H2Server(ScriptedServer):
    """Streams are answered one after the other, in the order in which their requests ended."""
    protocol = "h2"

    def serve(self, connection, number):
        Session(self, connection, number).run()


class Session:
    """One connection."""

    def __init__(self, server, connection, number):
        self.server, self.socket, self.number = server, connection, number
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.begun, self.waiting, self.gone = {}, [], set()  # streams: half read, to be answered, reset by the client

    def run(self):
        self.h2.initiate_connection()
        self.flush()
        while self.read():
            while self.waiting:
                if self.give(*self.waiting.pop(0)) == OVER:
                    return

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def read(self):
        """Takes in what has come; False when the client is gone."""
        piece = self.socket.recv(65536)
        for event in self.h2.receive_data(piece) if piece else ():
            stream = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.RequestReceived):
                self.begun[stream] = (dict(event.headers), bytearray())
            elif isinstance(event, h2.events.DataReceived):
                self.begun[stream][1].extend(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamReset):
                self.gone.add(stream)
            elif isinstance(event, h2.events.StreamEnded):
                headers, body = self.begun.pop(stream)
                self.waiting.append((stream, Request(headers[":method"], headers[":path"], headers, bytes(body),
                                                     self.number, time.monotonic())))
        self.flush()
        return bool(piece)

    def give(self, stream, request):
        answer = self.server.next_answer(request)
        status, headers, body = compose(request, answer, self.server.content)
        cut, body = answer.cut, b"" if request.method == "HEAD" or status in (204, 304) else body
        headers = [(":status", str(status)), *headers]
        if cut == MID_HEADERS:
            # Half of a header block, its rest promised in a CONTINUATION.
            block = self.h2.encoder.encode(headers)
            self.socket.sendall(HeadersFrame(stream, data=block[:len(block) // 2]).serialize())
        elif cut != BEFORE:
            cut = cut_of(answer, body)
            self.h2.send_headers(stream, headers, end_stream=not body and cut is None)
            self.flush()
            self.send(stream, body[:cut], cut is None)
        if answer.then:
            answer.then()
        return None if cut is None else self.fail(stream, answer.how)

    def send(self, stream, body, whole):
        """As the client's windows allow."""
        while body and stream not in self.gone:
            size = min(len(body), self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if size == 0:
                if not self.read():
                    return
                continue
            self.h2.send_data(stream, body[:size], end_stream=whole and size == len(body))
            self.flush()
            body = body[size:]

    def fail(self, stream, how):
        if how.startswith("goaway"):
            self.socket.sendall(GoAwayFrame(0, last_stream_id=max(stream - 2, 0), error_code=0).serialize())
            return OVER if how == "goaway-close" else None
        if how == "stall":
            self.server.ending.wait(20)
        elif how == "reset":
            reset(self.socket)
        elif how != "close":
            # What libcurl reads together with the reset, headers included, it throws away.
            time.sleep(0.05)
            if stream not in self.gone:
                self.h2.reset_stream(stream, ErrorCodes[how])
                self.flush()
            return None
        return OVER
