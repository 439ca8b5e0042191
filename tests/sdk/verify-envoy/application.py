"""The application behind the proxy: says who is calling. python application.py PORT"""

import http.server
import sys


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["X-User-Id"].encode())


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
