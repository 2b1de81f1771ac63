# Cancels an exchange with a server twice: as it waits, and as it closes its connection. Whatever
# Python has to say about that is a fault.
import asyncio
import gc
import sys

sys.path.insert(0, sys.argv[1])
import watchtower


async def main():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def go(inside):
        async with watchtower._Exchange(url, None):
            inside.set()
            await asyncio.sleep(60)

    for _ in range(20):
        inside = asyncio.Event()
        task = asyncio.ensure_future(go(inside))
        await inside.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    server.close()


asyncio.run(main())
