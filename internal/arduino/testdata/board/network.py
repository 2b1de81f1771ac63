# Enough of MicroPython's network to run the examples.
STA_IF = 0


class WLAN:
    def __init__(self, which):
        pass

    def active(self, on):
        pass

    def connect(self, name, password):
        pass

    def isconnected(self):
        return True
