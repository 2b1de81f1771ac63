# A valve that is opened and closed by messages on channel 5. It closes by itself when it hears
# nothing for ten minutes.
#
# An ESP32, ESP8266 or Pico W with MicroPython; the valve's relay at pin 5. Copy this file as
# main.py, and watchtower_device.py from sdk/python beside it. `watchtower device key valve`
# prints the key; `watchtower broadcast 5 open` opens the valve.
import time

import network
from machine import Pin
from watchtower_device import Away, Device, Lost, Refused

WIFI = "house", "password"
HOST = None  # the gateway's address; None: it is found
KEY = "319155101a72601f8164b4cfe93c20a2"
CHANNEL = 5
LONGEST = 600  # seconds without a message

relay = Pin(5, Pin.OUT, value=0)
wifi = network.WLAN(network.STA_IF)
wifi.active(True)
wifi.connect(*WIFI)
while not wifi.isconnected():
    time.sleep(0.1)

valve = Device(HOST, "valve", KEY, echo=False)
while True:
    try:
        valve.join(CHANNEL)
        break
    except Away:
        print("valve: no gateway")
print("valve: connected")
while True:
    m = valve.receive(LONGEST)
    if m and m.text() not in ("open", "close"):
        continue
    opened = bool(m) and m.text() == "open"
    if relay.value() == opened:
        continue
    relay.value(opened)
    print("valve:", "open" if opened else "closed")
    try:
        valve.broadcast(CHANNEL, "is open" if opened else "is closed")
    except (Away, Lost, Refused):
        pass  # the valve is what matters
