"""The server of an engineer who has never heard of splitbrain: `ledger.py OWN PORT PEER ...`, lines `SET KEY VALUE` and
`GET KEY`. Every server holds everything, the last write wins, and a peer that does not answer is left out."""

import socket
import socketserver
import sys
import threading
import time

own, port, peers = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
held: dict[str, tuple[float, str, str]] = {}
lock = threading.Lock()


def keep(key: str, stamp: float, by: str, value: str) -> None:
    with lock:
        held[key] = max(held.get(key, (0.0, "", "")), (stamp, by, value))


def send(peer: str, line: str) -> None:
    try:
        with socket.create_connection((peer, port), timeout=0.2) as there:
            there.sendall(line.encode())
            there.recv(16)
    except OSError:
        pass


class Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        for line in self.rfile:
            word, key, *rest = line.decode().split()
            if word == "GET":
                answer = held[key][2] if key in held else "-"
            elif word == "COPY":
                keep(key, float(rest[0]), rest[1], rest[2])
                answer = "OK"
            else:
                stamp = time.time()
                keep(key, stamp, own, rest[0])
                copy = f"COPY {key} {stamp} {own} {rest[0]}\n"
                sending = [threading.Thread(target=send, args=(peer, copy)) for peer in peers]
                for one in sending:
                    one.start()
                for one in sending:
                    one.join()
                answer = "OK"
            self.wfile.write(answer.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


Server((own, port), Session).serve_forever()
