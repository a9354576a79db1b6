"""What a service manager sees of pywebd, and what the journal has of a request."""

import urllib.request

import service
from server import HANG


class Systemd(service.Service):
    def test_readiness_records_reload_and_stop(self):
        process = self.start()
        try:
            status = self.notification("READY=1")
            self.assertIn(f"STATUS=1 site on 127.0.0.1:{self.port}; 0 requests", status)

            url = f"http://127.0.0.1:{self.port}/cgi-bin/script?a"
            with urllib.request.urlopen(url, timeout=HANG) as response:
                self.assertEqual(response.read(), b"hello")
            line = self.entry(PYWEBD_STDERR="a line of stderr")
            record = self.entry(PYWEBD_REQUEST_LINE="GET /cgi-bin/script?a HTTP/1.1")
            self.assertEqual(line["PYWEBD_REQUEST_ID"], record["PYWEBD_REQUEST_ID"])
            self.assertEqual(record["PYWEBD_CLIENT"], "127.0.0.1")
            self.assertEqual(record["PYWEBD_STATUS"], "200")
            self.assertEqual(record["PYWEBD_BYTES"], "5")
            self.assertEqual(record["PYWEBD_SITE"], "example")
            self.assertEqual(record["PYWEBD_EXIT"], "exit status 0")
            self.assertEqual(record["PRIORITY"], "6")
            self.assertIn('127.0.0.1 "GET /cgi-bin/script?a HTTP/1.1" 200', record["MESSAGE"])

            self.config.write_text("version = 2\n")
            reloading = self.notification("RELOADING=1")
            self.assertIn("MONOTONIC_USEC=", reloading)
            self.assertIn("READY=1", self.notification("STATUS=reload failed"))
            self.assertEqual(self.entry(PRIORITY="3")["SYSLOG_IDENTIFIER"], "pywebd")
        finally:
            process.terminate()
        self.notification("STOPPING=1")
        self.assertEqual(process.wait(HANG), 0)


if __name__ == "__main__":
    service.main()
