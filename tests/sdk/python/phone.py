"""A phone of the tests: it has a number that nobody had before and shows the codes that were sent to it."""

import json
import random
import urllib.request


class Phone:
    def __init__(self, server: str) -> None:
        self.server = server
        self.mobile = f"1{random.randrange(3_000_000_000, 10_000_000_000)}"

    def read_code(self) -> str:
        request = urllib.request.Request(f"{self.server}/dev/sms", headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            messages = json.load(response)
        return next(str(message["code"]) for message in messages if message["mobile"] == self.mobile)
