# Enough of MicroPython's machine to run the examples.
import sys


class Pin:
    OUT = 1

    def __init__(self, number, mode=0, value=0):
        self.now = value

    def value(self, now=None):
        if now is None:
            return self.now
        self.now = now


class ADC:
    def __init__(self, pin):
        pass

    def read_u16(self):
        return 32768


def deepsleep(ms):
    print("sleeps for", ms)
    sys.exit()
