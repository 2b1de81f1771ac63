"""Watchtower from Python: register, join channels, hear and say things.

It needs Python 3.9 or newer, and only the standard library. Copy this file beside yours:

    import asyncio
    import watchtower

    async def main():
        async with await watchtower.connect("http://localhost:8080", key="…", name="lamp") as w:
            await w.join([5], lambda m: print(m.name or m.sender, m.message), since="10m")
            await w.broadcast([5], {"on": True}, ttl=60)
            await asyncio.sleep(3600)

    asyncio.run(main())
"""

from __future__ import annotations

import asyncio, base64, contextlib, inspect, json, random, ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List, Optional, Sequence, Set, Tuple, TypeVar, Union
from urllib.parse import quote, urlencode, urlsplit

_PATIENCE, _OPENING = 30.0, 10.0  # seconds that a call may take, and a stream until it is open
_IDLE = 60.0  # seconds without anything, even a heartbeat, after which a stream counts as lost
_LONGEST_WAIT = 30.0  # seconds between two attempts
_LARGEST = 4 << 20  # bytes of an answer, or of a line on a stream
_CLOSED = "this client was closed"
_T = TypeVar("_T")


class WatchtowerError(Exception):
    """Why a call failed, or a join ended.

    type: urn:watchtower:problem:… as the gateway says it, or network (no answer), no-gateway
        (another server's answer, such as a proxy's), left, closed.
    detail: what is wrong, for people, and the way out.
    status: the status of HTTP; 0: there was no answer.
    field: the field at fault, if any. retry_after: the seconds to wait, if the gateway said so.
    """

    def __init__(self, type: str, detail: str, status: int = 0, field: str = "", retry_after: float = 0.0):
        super().__init__(detail)
        self.type, self.detail, self.status, self.field, self.retry_after = type, detail, status, field, retry_after

    def _for_good(self) -> bool:
        """Whether another attempt cannot help."""
        return self.type not in ("network", "no-gateway") and self.status < 500 and self.status not in (408, 429)


@dataclass(frozen=True)
class Message:
    """A message as it was heard."""
    id: str  # unique; good for since
    time: datetime  # when the gateway took it, in UTC
    type: str  # "broadcast" or "send"
    channel: int
    sender: int  # the sender's id
    name: Optional[str]  # the sender's name, if it has one
    message: Any  # text as str, JSON as its value, bytes that are not UTF-8 as bytes
    confirmed_by: Tuple[int, ...] = ()  # the ids of all who said it, on a channel that wants more than one


@dataclass(frozen=True)
class State:
    """A change of one join, as on_state is told."""
    state: str  # "open", "reconnecting" (it tries again by itself) or "closed" (for good)
    channels: Tuple[int, ...]  # the channels of the join
    reason: str = ""  # why it is not open, for people
    error: Optional[Exception] = None
    wait: Optional[float] = None  # seconds until the next attempt


async def connect(url: str, *, key: Optional[str] = None, token: Optional[str] = None, name: Optional[str] = None,
                  tls: Optional[ssl.SSLContext] = None) -> Watchtower:
    """Connect to a gateway.

    With key, the gateway's secret key, it registers as a new sender, or as the one with name;
    an open gateway needs no key. With token, a sender's own (wt_…) or a short one (wtp_…), it
    speaks as the token's sender. The url may have a path, for a gateway behind a proxy. tls
    is for a certificate that the system does not trust. Raises WatchtowerError, and ValueError
    for an address or a token that is none.
    """
    w = Watchtower(url, token, tls)
    if token:
        me = await w._ask("GET", "/me")
        w.name = me.get("name")
    else:
        me = await w._ask("POST", "/register", _given(secret_key=key, name=name))
        w._token, w.name = me["token"], name
    w.id = me["id"]
    return w


class Watchtower:
    """A sender on a gateway. connect makes it; it is an async context manager."""
    id: int = 0
    name: Optional[str] = None
    on_state: Optional[Callable[[State], Any]] = None  # told at each change of a join; may be async

    def __init__(self, url: str, token: Optional[str], tls: Optional[ssl.SSLContext]):
        _Exchange(url, tls)  # checks the address
        if token and not (token.isascii() and token.isprintable()):
            raise ValueError("the token has a character that no token has")
        self.url, self._token, self._tls, self._closed = url, token, tls, False
        self._joins: Set[_Join] = set()
        self._calls: Set[asyncio.Task[Dict[str, Any]]] = set()

    async def __aenter__(self) -> Watchtower:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def join(self, channels: Sequence[int], on_message: Callable[[Message], Any], *, since: Optional[str] = None, echo: bool = True,
                   on_gap: Optional[Callable[[int], Any]] = None, on_confirm: Optional[Callable[[Dict[str, Any]], Any]] = None) -> None:
        """Join channels, and call on_message for each message there, once and in order.

        Returns once it hears; while the gateway does not answer it goes on trying. A lost connection is made again,
        and brings what was said meanwhile; if that is no longer kept, on_gap is told the channel. since begins with
        earlier messages: those after a message's id, of an age such as "10m", or "all". echo=False leaves the
        sender's own broadcasts out. on_confirm is told of a message that waits for more to say the same:
        {"channel": 9, "confirmed": 1, "of": 2}. What is called may be async: a slow one delays the next message; what
        it raises goes to the loop's exception handler. Raises WatchtowerError if refused, or after leave or close.
        """
        if self._closed:
            raise WatchtowerError("closed", _CLOSED)
        query = urlencode(_given(sender=self.id, echo=str(echo).lower(), since=since))
        j = _Join(list(channels), on_message, on_gap, on_confirm, query, asyncio.get_running_loop().create_future())
        self._joins.add(j)
        j.task = asyncio.ensure_future(self._follow(j))
        try:
            await asyncio.shield(j.joined)
        except asyncio.CancelledError:
            j.joined.cancel()
            await self._end(j, WatchtowerError("closed", "the join was given up"))
            raise

    async def broadcast(self, channels: Sequence[int], message: Any, *, ttl: Optional[int] = None) -> Dict[str, Any]:
        """Say something to all members of channels that are joined. Returns {"id": "01J…"}, or {"confirmed": 1, "of": 2}.

        message is str, bytes or any value that JSON has. ttl is how long it may wait, in seconds. After a network
        error nobody knows whether it was said.
        """
        return await self._say("/broadcast", _given(sender=self.id, channels=list(channels), ttl=ttl), message)

    async def send(self, channels: Sequence[int], receivers: Sequence[Union[int, str]], message: Any, *,
                   ttl: Optional[int] = None) -> Dict[str, Any]:
        """Say something to some members, named by id or name, as broadcast does.

        Returns the report, in receivers by protocol: {"id": "01J…", "offered": {"udp": 1}, "dropped": {}}.
        """
        about = _given(sender=self.id, channels=list(channels), receivers=list(receivers), ttl=ttl, report=True)
        return await self._say("/send", about, message)

    async def members(self, channel: int) -> Dict[str, Any]:
        """Who is on a channel, 256 at most: {"count": 1, "members": [{"id": 72, "name": "lamp", "via": "udp"}]}."""
        return await self._ask("GET", f"/channels/{channel}/members?sender={self.id}")

    async def leave(self, channels: Sequence[int]) -> None:
        """Leave channels. A join that has none left ends."""
        for j in self._joins:
            stay = [c for c in j.channels if c not in channels]
            j.channels, j.over = stay or j.channels, j.over or not stay  # over: it hears nothing any more
        try:
            await self._ask("POST", "/channels/leave", {"sender": self.id, "channels": list(channels)})
        finally:
            for j in [j for j in self._joins if j.over]:
                await self._end(j, WatchtowerError("left", "the channels were left"))

    async def close(self) -> None:
        """End all joins and calls. The sender stays a member for 30 seconds (http.linger)."""
        self._closed = True
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*(self._end(j, WatchtowerError("closed", _CLOSED)) for j in self._joins))

    async def _say(self, path: str, about: Dict[str, Any], message: Any) -> Dict[str, Any]:
        if not isinstance(message, (bytes, bytearray, memoryview)):
            return await self._ask("POST", path, {**about, "message": message})
        # Bytes are the body itself, and everything else is in the query.
        query = {k: ",".join(map(str, v)) if isinstance(v, list) else str(v).lower() for k, v in about.items()}
        return await self._ask("POST", f"{path}?{urlencode(query)}", bytes(message))

    async def _ask(self, method: str, path: str, body: Any = None) -> Dict[str, Any]:
        """Make one call. Its body is bytes, or a value for JSON."""
        if self._closed:
            raise WatchtowerError("closed", _CLOSED)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body, allow_nan=False).encode()
        call = asyncio.wait_for(_Exchange(self.url, self._tls).call(method, path, headers, raw), _PATIENCE)
        task = asyncio.ensure_future(_as_network(call, self.url))
        self._calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            raise WatchtowerError("closed", _CLOSED) if self._closed else asyncio.CancelledError
        finally:
            self._calls.discard(task)

    async def _follow(self, j: _Join) -> None:
        """Follow channels by a stream, and by another whenever that is lost."""
        tries = 0
        while not j.over:
            j.opened = False
            error: Exception = WatchtowerError("network", "the connection was lost")
            try:
                await _as_network(self._once(j), self.url)
            except Exception as e:
                error = e
            if j.over:
                return
            if not isinstance(error, WatchtowerError) or error._for_good():
                return await self._end(j, error)
            tries = 0 if j.opened else tries
            wait = max(min(_LONGEST_WAIT, 0.5 * 2 ** min(tries, 10)) * random.uniform(0.75, 1.25), error.retry_after)
            tries += 1
            await self._call(self.on_state, State("reconnecting", tuple(j.channels), str(error), error, wait))
            await asyncio.sleep(wait)

    async def _once(self, j: _Join) -> None:
        """Follow channels by one stream of server-sent events, until it ends."""
        path = f"/channels/join?channels={','.join(map(str, j.channels))}&{j.query}"
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {self._token}", **_given(**{"Last-Event-ID": j.last})}
        async with _Exchange(self.url, self._tls) as x:
            await asyncio.wait_for(x.request("GET", path, headers), _OPENING)
            if x.status != 200 or "event-stream" not in x.headers.get("content-type", ""):
                await asyncio.wait_for(x.answer(), _OPENING)
                raise x.no_gateway()
            j.opened = True
            await self._call(self.on_state, State("open", tuple(j.channels)))
            if not j.joined.done():
                j.joined.set_result(None)
            event: Dict[str, str] = {}
            async for line in x.lines(_IDLE):
                if j.over:
                    return
                name, _, value = line.decode("utf-8", "replace").partition(": ")
                if line:
                    event[name] = value
                    continue
                j.last = event.get("id", j.last)
                if "data" in event:
                    await self._hear(j, _parse(event["data"]))
                event = {}

    async def _hear(self, j: _Join, m: Dict[str, Any]) -> None:
        if m["type"] == "gap":
            await self._call(j.on_gap, m["channel"])
        elif m["type"] == "confirm":
            await self._call(j.on_confirm, m)
        elif m["type"] == "end":
            if m["reason"] == "expired":
                raise WatchtowerError("urn:watchtower:problem:token-expired", m["detail"], 401)
            raise WatchtowerError("left" if m["reason"] == "left" else "network", m["detail"])
        elif "message" in m:
            content = base64.b64decode(m["message"]) if m.get("encoding") == "base64" else m["message"]
            said = m["id"], datetime.fromisoformat(m["time"].replace("Z", "+00:00")), m["type"], m["channel"], m["sender"]
            await self._call(j.on_message, Message(*said, m.get("name"), content, tuple(m.get("confirmed_by", ()))))

    async def _end(self, j: _Join, error: Exception) -> None:
        if j not in self._joins:
            return
        j.over = True
        self._joins.discard(j)
        if j.task is not None and j.task is not asyncio.current_task():
            j.task.cancel()
            await asyncio.wait([j.task])
        await self._call(self.on_state, State("closed", tuple(j.channels), str(error), error))
        if not j.joined.done():
            j.joined.set_exception(error)

    async def _call(self, f: Optional[Callable[[Any], Any]], value: Any) -> None:
        """Call a function of the program's. What it raises does not end the join."""
        try:
            result = f(value) if f else None
            if inspect.isawaitable(result):
                await result
        except Exception as e:
            asyncio.get_running_loop().call_exception_handler({"message": "watchtower's caller failed", "exception": e})


@dataclass(eq=False)
class _Join:
    channels: List[int]
    on_message: Callable[[Message], Any]
    on_gap: Optional[Callable[[int], Any]]
    on_confirm: Optional[Callable[[Dict[str, Any]], Any]]
    query: str
    joined: asyncio.Future[None]
    task: Optional[asyncio.Task[None]] = None
    last: Optional[str] = None  # the last event's id
    opened: bool = False  # the last stream
    over: bool = False


class _Exchange:
    """One request and its answer, on a connection of its own (RFC 9112)."""

    def __init__(self, url: str, tls: Optional[ssl.SSLContext]):
        self.url, self.to, self.tls, self.status = url, urlsplit(url), tls, 0
        self.port = self.to.port or {"http": 80, "https": 443}.get(self.to.scheme)
        self.headers: Dict[str, str] = {}
        if not self.port or not self.to.hostname or "@" in self.to.netloc or not url.isprintable():
            raise ValueError(f"{url!r} is no address such as http://localhost:8080")

    async def __aenter__(self) -> _Exchange:
        tls = (self.tls or ssl.create_default_context()) if self.to.scheme == "https" else None
        opening = asyncio.open_connection(self.to.hostname, self.port, ssl=tls)
        self.reader, self.writer = await asyncio.wait_for(opening, _OPENING)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        # A task, because a coroutine that is cancelled before its first step warns of that.
        closed = asyncio.ensure_future(self.writer.wait_closed())
        with contextlib.suppress(Exception):
            await asyncio.wait_for(closed, 1)

    async def request(self, method: str, path: str, headers: Dict[str, str], body: Optional[bytes] = None) -> None:
        """Send a request, and read the head of its answer."""
        headers = {"Host": self.to.netloc, "Connection": "close", "Content-Length": str(len(body or b"")), **headers}
        path = quote(self.to.path.rstrip("/"), "/%") + path
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""])
        self.writer.write(head.encode() + (body or b""))
        await self.writer.drain()
        while self.status < 200:  # 1xx announces another head
            self.status = int((await self._line()).split()[1])
            while line := (await self._line()).decode("latin-1"):
                name, _, value = line.partition(":")
                self.headers[name.lower()] = value.strip()

    async def _line(self) -> bytes:
        return (await self.reader.readuntil(b"\n")).rstrip(b"\r\n")  # 64 KiB at most

    async def _piece(self) -> bytes:
        """The body's next bytes, none at its end."""
        if "chunked" not in self.headers.get("transfer-encoding", "").lower():
            return await self.reader.read(65536)
        size = int((await self._line()).partition(b";")[0], 16)
        return (await self.reader.readexactly(min(size, _LARGEST) + 2))[:-2]

    async def lines(self, idle: float) -> AsyncIterator[bytes]:
        """The body's lines. It is an error if nothing comes for idle seconds."""
        held = b""
        while piece := await asyncio.wait_for(self._piece(), idle):
            *whole, held = (held + piece).split(b"\n")
            for line in whole:
                yield line
            if len(held) > _LARGEST:
                raise WatchtowerError("too-long", f"a line has more than {_LARGEST} bytes")
        yield held

    async def call(self, *request: Any) -> Dict[str, Any]:
        async with self:
            await self.request(*request)
            return await self.answer()

    async def answer(self) -> Dict[str, Any]:
        """The JSON object of a success. Everything else is raised."""
        raw = b""
        async for line in self.lines(_PATIENCE):
            raw += line
            if len(raw) > _LARGEST:
                raise self.no_gateway()
        value = None
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(raw)
        if isinstance(value, dict) and 200 <= self.status < 300:
            return value
        if not isinstance(value, dict) or not str(value.get("type")).startswith("urn:watchtower:"):
            raise self.no_gateway()
        wait = float("0" + self.headers.get("retry-after", ""))
        raise WatchtowerError(value["type"], str(value.get("detail")), self.status, value.get("field", ""), wait)

    def no_gateway(self) -> WatchtowerError:
        why = f"{self.url} answered {self.status}, but not as a gateway does: is it the gateway's address, and does the gateway run?"
        return WatchtowerError("no-gateway", why, self.status)


def _given(**values: Any) -> Dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


async def _as_network(work: Awaitable[_T], url: str) -> _T:
    """Raise a WatchtowerError for a broken connection, and for an answer that is none."""
    try:
        return await work
    except (OSError, EOFError, asyncio.TimeoutError) as e:
        raise WatchtowerError("network", f"{url} does not answer: {e or type(e).__name__}") from e
    except (IndexError, KeyError, ValueError, asyncio.LimitOverrunError) as e:
        raise WatchtowerError("no-gateway", f"{url} does not answer as a gateway does: {e}") from e


def _parse(data: str) -> Dict[str, Any]:
    """Read a line of a stream. A message that Python cannot hold, as very deep JSON, stays text."""
    try:
        return dict(json.loads(data))
    except (ValueError, RecursionError):
        head, _, message = data.partition(',"message":')  # no field before it can have that
        return {**json.loads(head + "}"), "message": message[:-1]}
