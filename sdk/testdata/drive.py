"""Does what the tests say, a line of JSON each, and prints what it heard."""
import asyncio
import base64
import json
import sys

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import watchtower


def tell(**event):
    print(json.dumps(event), flush=True)


def plain(error):
    if not isinstance(error, watchtower.WatchtowerError):
        return {"type": type(error).__name__, "detail": str(error)}
    return {"type": error.type, "detail": error.detail, "status": error.status, "field": error.field, "retryAfter": error.retry_after}


def out(v):
    return {"bytes": base64.b64encode(v).decode()} if isinstance(v, bytes) else v


def into(v):
    return base64.b64decode(v["bytes"]) if isinstance(v, dict) and "bytes" in v else v


class Driver:
    w = None

    def heard(self, m):
        tell(event="message", id=m.id, kind=m.type, channel=m.channel, sender=m.sender, name=m.name or "", message=out(m.message), by=list(m.confirmed_by))

    def state(self, s):
        tell(event="state", state=s.state, channels=list(s.channels), reason=s.reason, error=plain(s.error) if s.error else None)

    async def connect(self, url, **options):
        self.w = await watchtower.connect(url, **options)
        self.w.on_state = self.state
        return {"id": self.w.id, "name": self.w.name}

    async def join(self, channels, since=None, echo=True):
        await self.w.join(channels, self.heard, since=since, echo=echo, on_gap=lambda c: tell(event="gap", channel=c), on_confirm=lambda c: tell(event="confirm", **c))

    async def broadcast(self, channels, message, ttl=None):
        return await self.w.broadcast(channels, into(message), ttl=ttl)

    async def send(self, channels, receivers, message):
        return await self.w.send(channels, receivers, into(message))

    async def members(self, channel):
        return await self.w.members(channel)

    async def leave(self, channels):
        await self.w.leave(channels)

    async def close(self):
        await self.w.close()


async def one(driver, n, op, args):
    try:
        tell(n=n, ok=await getattr(driver, op)(**args))
    except Exception as error:
        tell(n=n, error=plain(error))


async def main():
    driver, tasks = Driver(), set()
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 60  # a busy machine is no fault
    lines = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        tasks.add(asyncio.ensure_future(one(driver, **json.loads(line))))
    if driver.w:
        await driver.w.close()
    left = asyncio.all_tasks() - {asyncio.current_task()} - {t for t in tasks if t.done()}
    tell(event="left", tasks=len(left))


asyncio.run(main(), debug=True)
