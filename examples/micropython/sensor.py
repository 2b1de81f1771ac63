# A soil sensor that measures every ten minutes, and sleeps meanwhile.
#
# An ESP32 with MicroPython; the sensor's signal at pin 34. Copy this file as main.py, and
# watchtower_device.py from sdk/python beside it. `watchtower device key soil` prints the key;
# `watchtower join 5` shows what it says.
import json, time

import machine
import network
from watchtower_device import Away, Device, Lost

WIFI = "house", "password"
HOST = None  # the gateway's address; None: it is found
KEY = "319155101a72601f8164b4cfe93c20a2"
CHANNEL = 5
PERIOD = 600  # seconds


def measure():
    return {"moisture": machine.ADC(machine.Pin(34)).read_u16() * 100 // 65535}


wifi = network.WLAN(network.STA_IF)
wifi.active(True)
wifi.connect(*WIFI)
begun = time.time()
while not wifi.isconnected() and time.time() - begun < 20:
    time.sleep(0.1)
try:
    soil = Device(HOST, "soil", KEY)
    soil.join(CHANNEL, 10)
    soil.broadcast(CHANNEL, json.dumps(measure()), 10)
    soil.sleep(0)  # ends the session: the memory does not outlive the deep sleep
except (Away, Lost):
    print("soil: no answer")  # it measures again soon
machine.deepsleep(PERIOD * 1000)
